/* exitgen: a tiny virtual machine monitor whose guest makes an exactly chosen number of each kind of exit.
 *
 * It is the yardstick for truth of the lab tests: `exitgen --cpuid 1000` makes 1000 CPUID exits, and it says so in one line
 * of JSON, also under the names that the kvm_exit tracepoint gives them on this CPU. README.md beside this file says which
 * numbers are exact by nature, and why.
 *
 *   gcc -static -O2 -Wall -Wextra -Werror -pthread -o exitgen exitgen.c
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What the guest touches. All of it is reported in the JSON line, so that a test need not know it by heart. */
enum {
  CPUID_LEAF = 0x1,
  READ_MSR = 0x1b,     /* IA32_APIC_BASE: intercepted always, answered by KVM itself */
  WRITE_MSR = 0x17a,   /* IA32_MCG_STATUS: likewise; 0 is written */
  IN_PORT = 0x3fd,     /* the line status register of a serial port that nobody emulates in the kernel */
  OUT_PORT = 0x3f8,
  END_PORT = 0x5f0,    /* the guest's last instruction of a lap is an OUT to here */
  HYPERCALL = 0x7e57,  /* a number that KVM does not know: it answers -KVM_ENOSYS at once */
};
#define MMIO_BASE 0xd0000000u

enum kind { CPUID, RDMSR, WRMSR, IN, OUT, HLT, MMIO, VMCALL, PAUSE, CR, CR0, EPT, KINDS };
static const char *const kind_names[KINDS] = {
  "cpuid", "rdmsr", "wrmsr", "in", "out", "hlt", "mmio", "vmcall", "pause", "cr", "cr0", "ept"};

/* Guest-physical layout. Code and data of a vCPU are 8 pages apart from everything else, because KVM's older MMU maps up to
 * 8 neighbouring pages at one fault, and that would make the number of EPT violations depend on the neighbours. */
enum {
  PAGE = 4096,
  CODE_BASE = 0x10000, VCPU_STRIDE = 0x10000, DATA_OFFSET = 0x8000,
  ARENA_BASE = 0x1000000,
  MAX_VCPUS = 64,
  /* in the data page */
  TOUCH = 0, WANT = 4, DONE = 8, CR4_VALUE = 12, CR0_VALUE = 16, GDT = 0x100, IDT = 0x200, STACK = 0xff0,
  TIMER_VECTOR = 0x20,
  /* for --nested, in the data page and above it */
  VMXON_POINTER = 0x300, VMCS_POINTER = 0x308, NESTED_STATUS = 0x310,
  PAGE_DIRECTORY = 0xa00000, VMXON_REGION = 0xa01000, VMCS_REGION = 0xa02000,
};
enum { CR0_START = 0x33, CR0_AM = 0x40000, CR4_MCE = 0x40 };

/* What a guest of --nested writes into its VMCS. The last is written once more after the VMCS was left and made current again, so
 * that with VMCS shadowing its newest value is in the processor only. */
static const struct { const char *name; uint32_t encoding; uint64_t value; } nested_writes[] = {
  {"VIRTUAL_PROCESSOR_ID", 0x0000, 0x1234},
  {"GUEST_CS_SELECTOR", 0x0802, 0x0008},
  {"HOST_TR_SELECTOR", 0x0c0c, 0x0048},
  {"TSC_OFFSET", 0x2010, 0xfedcba9876543210},
  {"EPT_POINTER", 0x201a, 0x000000012345601e},
  {"VMCS_LINK_POINTER", 0x2800, 0xffffffffffffffff},
  {"GUEST_IA32_EFER", 0x2806, 0xd01},
  {"PIN_BASED_VM_EXEC_CONTROL", 0x4000, 0x3f},
  {"CPU_BASED_VM_EXEC_CONTROL", 0x4002, 0x8401e172},
  {"EXCEPTION_BITMAP", 0x4004, 0x60042},
  {"VM_EXIT_CONTROLS", 0x400c, 0x36dff},
  {"VM_ENTRY_CONTROLS", 0x4012, 0x11ff},
  {"SECONDARY_VM_EXEC_CONTROL", 0x401e, 0x82},
  {"GUEST_CS_LIMIT", 0x4802, 0xffffffff},
  {"GUEST_CS_AR_BYTES", 0x4816, 0xc09b},
  {"GUEST_SYSENTER_CS", 0x482a, 0x60},
  {"CR0_GUEST_HOST_MASK", 0x6000, 0xe0000031},
  {"GUEST_CR0", 0x6800, 0x80050033},
  {"GUEST_CR3", 0x6802, 0x7654000},
  {"GUEST_CR4", 0x6804, 0x26f0},
  {"GUEST_GS_BASE", 0x6810, 0x00c0ffee},
  {"GUEST_RSP", 0x681c, 0x00badcab},
  {"HOST_RIP", 0x6c16, 0x00fade00},
  {"GUEST_RIP", 0x681e, 0x0015900d},
};
enum { NESTED_WRITES = sizeof nested_writes / sizeof *nested_writes, NESTED_LAST_VALUE = 0x0015bad0 };

struct vcpu {
  int index, fd;
  struct kvm_run *run;
  uint8_t *data;      /* its data page, as we see it */
  pthread_t thread;
  pid_t tid;
  bool finished;
  uint64_t nanoseconds, laps;
};

static uint64_t counts[KINDS];
static uint64_t laps = 1, pace_us, wake_us = 100;
static int vcpu_count = 1;
static bool fail_entry, user_hlt, nested, registers;
static uint64_t disabled_exits, flip_after;
static uint32_t ept_stride = PAGE;
static const char *vendor = "unknown";
static int vm = -1;
static uint8_t *memory;
static struct vcpu vcpus[MAX_VCPUS];
static pthread_barrier_t gate;
static volatile sig_atomic_t ending;

static void __attribute__((noreturn, format(printf, 2, 3))) fail(int status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("exitgen: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(status);
}

static int kvm(int fd, unsigned long request, const char *name, void *argument) {
  int result;
  do result = ioctl(fd, request, argument); while (result < 0 && errno == EINTR);
  if (result < 0) fail(1, "%s: %s", name, strerror(errno));
  return result;
}
#define KVM(fd, request, argument) kvm(fd, request, #request, (void *)(uintptr_t)(argument))

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pause_us(uint64_t us) {
  struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
  nanosleep(&t, NULL);
}

/* ---- The guest: 32-bit protected mode, flat, no paging, assembled here ---- */

struct assembler { uint8_t *at; };

static void bytes(struct assembler *a, int count, ...) {
  va_list list;
  va_start(list, count);
  while (count--) *a->at++ = (uint8_t)va_arg(list, int);
  va_end(list);
}

static void word(struct assembler *a, uint32_t value) {
  memcpy(a->at, &value, 4);
  a->at += 4;
}

static uint8_t *loop_start(struct assembler *a, uint64_t count) {
  bytes(a, 1, 0xbe), word(a, (uint32_t)count);                                    /* mov esi, count */
  return a->at;
}

static void loop_end(struct assembler *a, uint8_t *start) {
  bytes(a, 1, 0x4e);                                                              /* dec esi */
  bytes(a, 2, 0x0f, 0x85), word(a, (uint32_t)(start - (a->at + 4)));              /* jnz start */
}

static void pointer(struct assembler *a, uint32_t address) { bytes(a, 1, 0x35), word(a, address); }  /* /6, [address] */

/* jbe to `jmp $` at the end of the failing half: VMfailInvalid sets CF, VMfailValid ZF (SDM volume 3, "Conventions"). */
static void check_success(struct assembler *a) {
  bytes(a, 2, 0x77, 0x02);                                                        /* ja over it */
  bytes(a, 2, 0xeb, 0xfe);                                                        /* jmp $ */
}

static void vmwrite(struct assembler *a, uint32_t encoding, uint32_t value) {
  bytes(a, 1, 0xb8), word(a, encoding), bytes(a, 1, 0xb9), word(a, value);        /* mov eax, encoding; mov ecx, value */
  bytes(a, 3, 0x0f, 0x79, 0xc1), check_success(a);                                /* vmwrite eax, ecx */
}

static void assemble_nested(struct assembler *a, uint32_t data) {
  bytes(a, 3, 0xf3, 0x0f, 0xc7), pointer(a, data + VMXON_POINTER), check_success(a);      /* vmxon */
  bytes(a, 3, 0x66, 0x0f, 0xc7), pointer(a, data + VMCS_POINTER), check_success(a);       /* vmclear */
  bytes(a, 2, 0x0f, 0xc7), pointer(a, data + VMCS_POINTER), check_success(a);             /* vmptrld */
  for (int i = 0; i < NESTED_WRITES; i++) {
    uint32_t encoding = nested_writes[i].encoding;
    vmwrite(a, encoding, (uint32_t)nested_writes[i].value);
    if ((encoding >> 13 & 3) == 1) vmwrite(a, encoding + 1, (uint32_t)(nested_writes[i].value >> 32));
  }
  bytes(a, 3, 0x66, 0x0f, 0xc7), pointer(a, data + VMCS_POINTER), check_success(a);
  bytes(a, 2, 0x0f, 0xc7), pointer(a, data + VMCS_POINTER), check_success(a);
  vmwrite(a, nested_writes[NESTED_WRITES - 1].encoding, NESTED_LAST_VALUE);
  bytes(a, 2, 0xc7, 0x05), word(a, data + NESTED_STATUS), word(a, 1);                     /* mov dword [status], 1 */
}

static void assemble(uint8_t *code, uint32_t data, uint32_t mmio, uint32_t arena) {
  struct assembler assembler = {code}, *a = &assembler;
  uint8_t *top;
  bool amd = !strcmp(vendor, "amd");

  bytes(a, 1, 0xbc), word(a, data + STACK);                                       /* mov esp, stack */
  bytes(a, 2, 0xc7, 0x05), word(a, data + TOUCH), word(a, 1);                     /* mov dword [data], 1 */

  if (nested) assemble_nested(a, data);
  if (counts[CPUID]) {
    top = loop_start(a, counts[CPUID]);
    bytes(a, 1, 0xb8), word(a, CPUID_LEAF);                                       /* mov eax, leaf */
    bytes(a, 4, 0x31, 0xc9, 0x0f, 0xa2);                                          /* xor ecx, ecx; cpuid */
    loop_end(a, top);
  }
  if (counts[RDMSR]) {
    top = loop_start(a, counts[RDMSR]);
    bytes(a, 1, 0xb9), word(a, READ_MSR), bytes(a, 2, 0x0f, 0x32);                /* mov ecx, msr; rdmsr */
    loop_end(a, top);
  }
  if (counts[WRMSR]) {
    top = loop_start(a, counts[WRMSR]);
    bytes(a, 1, 0xb9), word(a, WRITE_MSR);                                        /* mov ecx, msr */
    bytes(a, 6, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30);                              /* xor eax, eax; xor edx, edx; wrmsr */
    loop_end(a, top);
  }
  if (counts[IN]) {
    top = loop_start(a, counts[IN]);
    bytes(a, 1, 0xba), word(a, IN_PORT), bytes(a, 1, 0xec);                       /* mov edx, port; in al, dx */
    loop_end(a, top);
  }
  if (counts[OUT]) {
    top = loop_start(a, counts[OUT]);
    bytes(a, 1, 0xba), word(a, OUT_PORT), bytes(a, 3, 0xb0, '.', 0xee);           /* mov edx, port; mov al, '.'; out dx, al */
    loop_end(a, top);
  }
  if (counts[HLT]) {
    /* STI holds interrupts off for one more instruction, so no wake-up can slip in before HLT. */
    top = loop_start(a, counts[HLT]);
    bytes(a, 2, 0xff, 0x05), word(a, data + WANT);                                /* inc dword [want] */
    bytes(a, 3, 0xfb, 0xf4, 0xfa);                                                /* sti; hlt; cli */
    bytes(a, 2, 0xff, 0x05), word(a, data + DONE);                                /* inc dword [done] */
    loop_end(a, top);
  }
  if (counts[MMIO]) {
    bytes(a, 1, 0xbf), word(a, mmio);                                             /* mov edi, mmio */
    bytes(a, 2, 0x89, 0x07);                                                      /* mov [edi], eax: KVM learns that it is MMIO */
    top = loop_start(a, counts[MMIO]);
    bytes(a, 2, 0x89, 0x07);                                                      /* mov [edi], eax */
    loop_end(a, top);
  }
  if (counts[VMCALL]) {
    top = loop_start(a, counts[VMCALL]);
    bytes(a, 1, 0xb8), word(a, HYPERCALL);                                        /* mov eax, number */
    bytes(a, 3, 0x0f, 0x01, amd ? 0xd9 : 0xc1);                                   /* vmmcall or vmcall */
    loop_end(a, top);
  }
  if (counts[PAUSE]) {
    top = loop_start(a, counts[PAUSE]);
    bytes(a, 2, 0xf3, 0x90);                                                      /* pause */
    loop_end(a, top);
  }
  if (counts[CR]) {
    /* CR4 is never read: AMD intercepts that too. Its value is kept in memory over the laps. */
    top = loop_start(a, counts[CR]);
    bytes(a, 2, 0x81, 0x35), word(a, data + CR4_VALUE), word(a, CR4_MCE);         /* xor dword [cr4], MCE */
    bytes(a, 1, 0xa1), word(a, data + CR4_VALUE), bytes(a, 3, 0x0f, 0x22, 0xe0);  /* mov eax, [cr4]; mov cr4, eax */
    loop_end(a, top);
  }
  if (counts[CR0]) {
    top = loop_start(a, counts[CR0]);
    bytes(a, 2, 0x81, 0x35), word(a, data + CR0_VALUE), word(a, CR0_AM);          /* xor dword [cr0], AM */
    bytes(a, 1, 0xa1), word(a, data + CR0_VALUE), bytes(a, 3, 0x0f, 0x22, 0xc0);  /* mov eax, [cr0]; mov cr0, eax */
    loop_end(a, top);
  }
  if (counts[EPT]) {
    bytes(a, 1, 0xbf), word(a, arena);                                            /* mov edi, arena */
    top = loop_start(a, counts[EPT]);
    bytes(a, 3, 0xc6, 0x07, 0x01);                                                /* mov byte [edi], 1 */
    bytes(a, 2, 0x81, 0xc7), word(a, ept_stride);                                 /* add edi, stride */
    loop_end(a, top);
  }
  bytes(a, 1, 0xba), word(a, END_PORT), bytes(a, 3, 0xb0, 0x00, 0xee);            /* mov edx, end; mov al, 0; out dx, al */
  bytes(a, 2, 0xeb, 0xfe);                                                        /* jmp $ */
  bytes(a, 1, 0xcf);                                                              /* the interrupt handler: iret */
}

/* VMXON wants paging, CR4.VMXE, IA32_FEATURE_CONTROL locked with VMX on, and a CPUID that has VMX: KVM's own has it where kvm_intel.nested is Y. */
static void prepare_nested(struct vcpu *v, struct kvm_sregs *s) {
  int dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (dev < 0) fail(3, "/dev/kvm: %s", strerror(errno));
  struct kvm_cpuid2 *leaves = calloc(1, sizeof *leaves + 256 * sizeof *leaves->entries);
  if (!leaves) fail(1, "out of memory");
  leaves->nent = 256;
  KVM(dev, KVM_GET_SUPPORTED_CPUID, leaves);
  close(dev);
  bool has = false;
  for (unsigned i = 0; i < leaves->nent; i++) has |= leaves->entries[i].function == 1 && leaves->entries[i].ecx >> 5 & 1;
  if (!has) fail(1, "KVM_GET_SUPPORTED_CPUID has no VMX: kvm_intel.nested is N?");
  KVM(v->fd, KVM_SET_CPUID2, leaves);
  free(leaves);
  struct { struct kvm_msrs head; struct kvm_msr_entry entry; } msrs = {{.nmsrs = 1}, {.index = 0x3a, .data = 5}};
  if (KVM(v->fd, KVM_SET_MSRS, &msrs) != 1) fail(1, "KVM_SET_MSRS: IA32_FEATURE_CONTROL");
  msrs.entry.index = 0x480;
  if (KVM(v->fd, KVM_GET_MSRS, &msrs) != 1) fail(1, "KVM_GET_MSRS: IA32_VMX_BASIC");
  uint32_t revision = (uint32_t)msrs.entry.data & 0x7fffffff;
  memcpy(memory + VMXON_REGION, &revision, 4);
  memcpy(memory + VMCS_REGION, &revision, 4);
  uint64_t regions[2] = {VMXON_REGION, VMCS_REGION};
  memcpy(v->data + VMXON_POINTER, regions, sizeof regions);
  for (uint32_t i = 0; i < 1024; i++) {
    uint32_t entry = i << 22 | 0x83;   /* present, writable, 4 MiB */
    memcpy(memory + PAGE_DIRECTORY + 4 * i, &entry, 4);
  }
  s->cr0 = 0x80000000 | CR0_START, s->cr3 = PAGE_DIRECTORY, s->cr4 = 0x2010;   /* PG; VMXE, PSE */
}

static void prepare_data(struct vcpu *v, uint32_t code, uint32_t data, uint32_t handler) {
  memset(v->data, 0, PAGE);
  uint32_t start = CR0_START;
  memcpy(v->data + CR0_VALUE, &start, 4);
  static const uint64_t gdt[3] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff}; /* flat code and data, accessed */
  memcpy(v->data + GDT, gdt, sizeof gdt);
  uint64_t gate_value = (handler & 0xffff) | (uint64_t)8 << 16 | (uint64_t)0x8e << 40 | (uint64_t)(handler >> 16) << 48;
  memcpy(v->data + IDT + TIMER_VECTOR * 8, &gate_value, 8);

  struct kvm_sregs s;
  KVM(v->fd, KVM_GET_SREGS, &s);
  struct kvm_segment flat = {.base = 0, .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
  s.cs = flat;
  flat.selector = 16;
  flat.type = 3;
  s.ds = s.es = s.fs = s.gs = s.ss = flat;
  s.gdt.base = data + GDT, s.gdt.limit = sizeof gdt - 1;
  s.idt.base = data + IDT, s.idt.limit = (TIMER_VECTOR + 1) * 8 - 1;
  s.cr0 = CR0_START, s.cr4 = 0;
  if (nested) prepare_nested(v, &s);
  KVM(v->fd, KVM_SET_SREGS, &s);
  struct kvm_regs r = {.rip = code, .rflags = 2};
  if (registers) {
    r.rbx = 0x1122334455667788, r.rdi = 0xd1, r.rbp = 0xb9, r.r8 = 0x88, r.r15 = 0xf0f0f0f0f0f0f0f0;
    struct kvm_debugregs d = {.db = {0x1000, 0x2000, 0x3000, 0x4000}, .dr6 = 0xffff0ff1, .dr7 = 0x400};
    KVM(v->fd, KVM_SET_DEBUGREGS, &d);
  }
  KVM(v->fd, KVM_SET_REGS, &r);
}

/* Puts a vCPU that will not run any more into a state that shows: an interrupt and an exception on their way, NMIs, bits in the local
 * APIC. Then prints what KVM says of it, by the names that vmctop has for it. */
static void report_registers(struct vcpu *v) {
  struct kvm_lapic_state apic;
  KVM(v->fd, KVM_GET_LAPIC, &apic);
  uint32_t word = 0x50;
  memcpy(apic.regs + 0x80, &word, 4);
  word = 1u << 3;
  memcpy(apic.regs + 0x120, &word, 4);   /* in service: 0x43 */
  word = 1u << 17;
  memcpy(apic.regs + 0x210, &word, 4);   /* requested: 0x31 */
  KVM(v->fd, KVM_SET_LAPIC, &apic);
  struct kvm_vcpu_events e;
  KVM(v->fd, KVM_GET_VCPU_EVENTS, &e);
  e.exception.injected = 1, e.exception.nr = 13, e.interrupt.injected = 1, e.interrupt.nr = 0x61, e.nmi.pending = 1;
  e.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
  KVM(v->fd, KVM_SET_VCPU_EVENTS, &e);

  struct kvm_regs r;
  struct kvm_sregs s;
  struct kvm_debugregs d;
  struct kvm_mp_state m;
  KVM(v->fd, KVM_GET_REGS, &r);
  KVM(v->fd, KVM_GET_SREGS, &s);
  KVM(v->fd, KVM_GET_DEBUGREGS, &d);
  KVM(v->fd, KVM_GET_MP_STATE, &m);
  KVM(v->fd, KVM_GET_VCPU_EVENTS, &e);
  KVM(v->fd, KVM_GET_LAPIC, &apic);
  struct { const char *name; uint64_t value; } rows[] = {
    {"RAX", r.rax}, {"RBX", r.rbx}, {"RCX", r.rcx}, {"RDX", r.rdx}, {"RSI", r.rsi}, {"RDI", r.rdi}, {"RBP", r.rbp}, {"R8", r.r8},
    {"R9", r.r9}, {"R10", r.r10}, {"R11", r.r11}, {"R12", r.r12}, {"R13", r.r13}, {"R14", r.r14}, {"R15", r.r15},
    {"GUEST_RSP", r.rsp}, {"GUEST_RIP", r.rip}, {"GUEST_RFLAGS", r.rflags}, {"CR2", s.cr2}, {"CR8", s.cr8}, {"APIC_BASE", s.apic_base},
    {"DR0", d.db[0]}, {"DR1", d.db[1]}, {"DR2", d.db[2]}, {"DR3", d.db[3]}, {"DR6", d.dr6}, {"GUEST_DR7", d.dr7},
    {"MP_STATE", m.mp_state}, {"EXCEPTION_INJECTED", e.exception.injected}, {"EXCEPTION_VECTOR", e.exception.nr},
    {"INTERRUPT_INJECTED", e.interrupt.injected}, {"INTERRUPT_VECTOR", e.interrupt.nr}, {"NMI_PENDING", e.nmi.pending},
    {"NMI_INJECTED", e.nmi.injected}, {"VCPU_MODE", 0},
    /* Each segment register is asked for, so that KVM has all of them in its cache. */
#define SEGMENT(upper, lower) {"GUEST_" upper "_SELECTOR", s.lower.selector}, {"GUEST_" upper "_BASE", s.lower.base}, {"GUEST_" upper "_LIMIT", s.lower.limit}
    SEGMENT("CS", cs), SEGMENT("SS", ss), SEGMENT("DS", ds), SEGMENT("ES", es), SEGMENT("FS", fs), SEGMENT("GS", gs), SEGMENT("TR", tr),
    SEGMENT("LDTR", ldt),
  };
  printf(",\"registers\":{");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) printf("%s\"%s\":\"0x%llx\"", i ? "," : "", rows[i].name, (unsigned long long)rows[i].value);
  for (int i = 0; i < 18; i++) {
    int offset = i == 0 ? 0x80 : i == 1 ? 0xa0 : i < 10 ? 0x100 + 16 * (i - 2) : 0x200 + 16 * (i - 10);
    memcpy(&word, apic.regs + offset, 4);
    if (i < 2) printf(",\"APIC_%s\":\"0x%x\"", i ? "PPR" : "TPR", word);
    else printf(",\"APIC_%s%d\":\"0x%x\"", i < 10 ? "ISR" : "IRR", (i - 2) % 8, word);
  }
  printf("}");
}

/* ---- The machine ---- */

static void make_machine(void) {
  int dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (dev < 0) fail(3, "/dev/kvm: %s", strerror(errno));
  if (ioctl(dev, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) fail(4, "/dev/kvm: not the KVM API");
  vm = KVM(dev, KVM_CREATE_VM, 0);
  if (disabled_exits) {
    struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_DISABLE_EXITS, .args = {disabled_exits}};
    KVM(vm, KVM_ENABLE_CAP, &cap);
  }
  /* Intel CPUs without unrestricted guest want these; elsewhere they do no harm. */
  ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
  uint64_t identity_map = 0xfffbc000;
  ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
  if (!user_hlt) {
    KVM(vm, KVM_CREATE_IRQCHIP, 0);
    /* The interrupt controller as a guest would set it up, but with automatic end of interrupt: no exit is spent on it. */
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER};
    KVM(vm, KVM_GET_IRQCHIP, &chip);
    chip.chip.pic.irq_base = TIMER_VECTOR, chip.chip.pic.auto_eoi = 1, chip.chip.pic.init4 = 1, chip.chip.pic.imr = 0xfe;
    KVM(vm, KVM_SET_IRQCHIP, &chip);
  }

  uint64_t arena = counts[EPT] * ept_stride;
  uint64_t size = ARENA_BASE + arena * (uint64_t)vcpu_count;
  if (size > MMIO_BASE) fail(2, "--ept %llu does not fit into 3 GiB", (unsigned long long)counts[EPT]);
  memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail(1, "%llu bytes of guest memory: %s", (unsigned long long)size, strerror(errno));
  /* Small pages, present and writable before the guest runs: then each page costs exactly one EPT violation. */
  madvise(memory, size, MADV_NOHUGEPAGE);
  madvise(memory, size, MADV_UNMERGEABLE);
  for (uint64_t at = ARENA_BASE; at < size; at += ept_stride) memory[at] = 1;
  struct kvm_userspace_memory_region slot = {.slot = 0, .memory_size = size, .userspace_addr = (uint64_t)memory};
  KVM(vm, KVM_SET_USER_MEMORY_REGION, &slot);

  int run_size = KVM(dev, KVM_GET_VCPU_MMAP_SIZE, 0);
  for (int i = 0; i < vcpu_count; i++) {
    struct vcpu *v = &vcpus[i];
    uint32_t code = CODE_BASE + (uint32_t)i * VCPU_STRIDE, data = code + DATA_OFFSET;
    v->index = i;
    v->fd = KVM(vm, KVM_CREATE_VCPU, i);
    v->run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) fail(1, "mmap of a vCPU: %s", strerror(errno));
    v->data = memory + data;
    assemble(memory + code, data, MMIO_BASE + (uint32_t)i * PAGE, ARENA_BASE + (uint32_t)((uint64_t)i * arena));
    uint32_t handler = code;
    while (memory[handler] != 0xeb || memory[handler + 1] != 0xfe || memory[handler + 2] != 0xcf) handler++;
    prepare_data(v, code, data, handler + 2);
    if (i > 0 && !user_hlt) {
      struct kvm_mp_state state = {KVM_MP_STATE_RUNNABLE};
      KVM(v->fd, KVM_SET_MP_STATE, &state);
    }
  }
}

static uint32_t guest_word(struct vcpu *v, int offset) {
  return __atomic_load_n((uint32_t *)(v->data + offset), __ATOMIC_ACQUIRE);
}

/* Wakes halted vCPUs: the first by an interrupt, as a device would; the others by a signal that ends KVM_RUN, because the old
 * interrupt controller wakes only one CPU. A wake-up that comes early is harmless, one that gets lost is repeated. */
static void *wake_halted(void *unused) {
  (void)unused;
  for (;;) {
    bool all = true;
    pause_us(wake_us);
    for (int i = 0; i < vcpu_count; i++) {
      struct vcpu *v = &vcpus[i];
      if (__atomic_load_n(&v->finished, __ATOMIC_ACQUIRE)) continue;
      all = false;
      if (guest_word(v, WANT) == guest_word(v, DONE)) continue;
      if (i == 0) {
        struct kvm_irq_level line = {.irq = 0, .level = 1};
        ioctl(vm, KVM_IRQ_LINE, &line);
        line.level = 0;
        ioctl(vm, KVM_IRQ_LINE, &line);
      } else {
        syscall(SYS_tgkill, getpid(), v->tid, SIGUSR1);
      }
    }
    if (all) return NULL;
  }
}

/* Changes a control that no exit of ours depends on, as a VMM or the guest itself would while it runs. Intel: the APIC is
 * disabled, and KVM clears SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES. AMD: a debugger's breakpoints, and KVM intercepts #BP.
 * Before and after it nothing runs for a while, so that whoever looks ten times a second, on a busy machine too, sees each lap in one setting. */
static void flip(struct vcpu *v) {
  pause_us(1500000);
  if (!strcmp(vendor, "amd")) {
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP};
    KVM(v->fd, KVM_SET_GUEST_DEBUG, &debug);
  } else {
    struct kvm_sregs s;
    KVM(v->fd, KVM_GET_SREGS, &s);
    s.apic_base &= ~0x800ull;
    KVM(v->fd, KVM_SET_SREGS, &s);
  }
  pause_us(1500000);
}

static void *run_vcpu(void *argument) {
  struct vcpu *v = argument;
  char name[16];
  snprintf(name, sizeof name, "CPU %d/KVM", v->index);
  prctl(PR_SET_NAME, name);
  v->tid = (pid_t)syscall(SYS_gettid);
  pthread_barrier_wait(&gate);   /* everyone exists */
  pthread_barrier_wait(&gate);   /* and may run */
  uint64_t start = now();
  for (;;) {
    if (ioctl(v->fd, KVM_RUN, 0) < 0) {
      if (errno != EINTR && errno != EAGAIN) fail(1, "KVM_RUN: %s", strerror(errno));
      v->run->immediate_exit = 0;
      struct kvm_mp_state state;
      if (!user_hlt && ioctl(v->fd, KVM_GET_MP_STATE, &state) == 0 && state.mp_state == KVM_MP_STATE_HALTED && v->index > 0) {
        state.mp_state = KVM_MP_STATE_RUNNABLE;
        KVM(v->fd, KVM_SET_MP_STATE, &state);
      }
      continue;
    }
    switch (v->run->exit_reason) {
    case KVM_EXIT_IO:
      if (v->run->io.port == END_PORT) {
        if (++v->laps == laps || ending) {
          /* KVM_RUN once more would finish the OUT; there is nothing after it. */
          v->nanoseconds = now() - start;
          __atomic_store_n(&v->finished, true, __ATOMIC_RELEASE);
          return NULL;
        }
        if (pace_us) pause_us(pace_us);
        v->run->immediate_exit = 1;   /* finish the OUT without running the guest, then start over */
        ioctl(v->fd, KVM_RUN, 0);
        v->run->immediate_exit = 0;
        struct kvm_regs r;
        KVM(v->fd, KVM_GET_REGS, &r);
        r.rip = CODE_BASE + (uint64_t)v->index * VCPU_STRIDE;
        KVM(v->fd, KVM_SET_REGS, &r);
        if (flip_after && v->laps == flip_after) flip(v);
        if (fail_entry) {
          struct kvm_sregs s;
          KVM(v->fd, KVM_GET_SREGS, &s);
          s.tr.type = 1;   /* an available 16-bit TSS: VM entry wants a busy one */
          KVM(v->fd, KVM_SET_SREGS, &s);
        }
      } else if (v->run->io.direction == KVM_EXIT_IO_IN) {
        memset((uint8_t *)v->run + v->run->io.data_offset, 0x60, v->run->io.size * v->run->io.count);
      }
      break;
    case KVM_EXIT_MMIO: case KVM_EXIT_HLT: case KVM_EXIT_INTR: break;
    case KVM_EXIT_FAIL_ENTRY:
      if (fail_entry) {
        fprintf(stderr, "ENTRY-FAILED 0x%llx\n", (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
        while (!ending) pause_us(20000);
        v->nanoseconds = now() - start;
        __atomic_store_n(&v->finished, true, __ATOMIC_RELEASE);
        return NULL;
      }
      fail(1, "VM entry failed: 0x%llx", (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
    case KVM_EXIT_INTERNAL_ERROR: {
      struct kvm_regs r;
      KVM(v->fd, KVM_GET_REGS, &r);
      fail(1, "KVM_EXIT_INTERNAL_ERROR %u at rip 0x%llx", v->run->internal.suberror, (unsigned long long)r.rip);
    }
    default: fail(1, "unexpected KVM_EXIT_ reason %u", v->run->exit_reason);
    }
  }
}

/* ---- What was made ---- */

static void find_vendor(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(0, &a, &b, &c, &d)) return;
  if (b == signature_INTEL_ebx) vendor = "intel";
  if (b == signature_AMD_ebx || b == 0x6f677948 /* HygonGenuine */) vendor = "amd";
}

static void report(const char *name) {
  uint64_t n = 0, slowest = 0;
  for (int i = 0; i < vcpu_count; i++) n += vcpus[i].laps;
  printf("{\"exitgen\":1,\"pid\":%d,\"tid\":%d,\"tids\":[", getpid(), vcpus[0].tid);
  for (int i = 0; i < vcpu_count; i++) printf("%s%d", i ? "," : "", vcpus[i].tid);
  printf("],\"name\":");
  if (name) {
    putchar('"');
    for (const char *c = name; *c; c++)
      if (*c == '"' || *c == '\\') printf("\\%c", *c);
      else if ((unsigned char)*c >= 0x20) putchar(*c);
    putchar('"');
  } else {
    fputs("null", stdout);
  }
  printf(",\"vendor\":\"%s\",\"vcpus\":%d,\"laps\":%llu", vendor, vcpu_count, (unsigned long long)n);
  for (int k = 0; k < KINDS; k++)
    printf(",\"%s\":%llu", kind_names[k], (unsigned long long)(k == EPT ? counts[k] * (uint64_t)vcpu_count : counts[k] * n));
  for (int i = 0; i < vcpu_count; i++)
    if (vcpus[i].nanoseconds > slowest) slowest = vcpus[i].nanoseconds;
  if (registers) report_registers(&vcpus[0]);
  if (nested) {
    uint32_t done;
    memcpy(&done, vcpus[0].data + NESTED_STATUS, 4);
    printf(",\"nested\":%s,\"nested_last\":\"0x%x\",\"vmcs12\":{", done ? "true" : "false", NESTED_LAST_VALUE);
    for (int i = 0; i < NESTED_WRITES; i++)
      printf("%s\"%s\":\"0x%llx\"", i ? "," : "", nested_writes[i].name, (unsigned long long)nested_writes[i].value);
    printf("}");
  }
  printf(",\"flip\":%llu,\"end_out\":%llu,\"elapsed_ns\":%llu", (unsigned long long)flip_after, (unsigned long long)n, (unsigned long long)slowest);

  /* The same as kvm_exit names it, where the backend is known. Left out is what a race could change: the page faults of several vCPUs. */
  uint64_t io = (counts[IN] + counts[OUT] + 1) * n, first_touches = (uint64_t)vcpu_count * (2 + counts[EPT] + (counts[MMIO] > 0));
  bool intel = access("/sys/module/kvm_intel", F_OK) == 0, amd = !intel && access("/sys/module/kvm_amd", F_OK) == 0;
  if (intel || amd) {
    struct { const char *name; uint64_t count; } rows[] = {
      {intel ? "CPUID" : "cpuid", counts[CPUID] * n},
      {intel ? "MSR_READ" : "msr", (counts[RDMSR] + (intel ? 0 : counts[WRMSR])) * n},
      {intel ? "MSR_WRITE" : NULL, counts[WRMSR] * n},
      {intel ? "IO_INSTRUCTION" : "io", io},
      {intel ? "HLT" : "hlt", counts[HLT] * n},
      {intel ? "VMCALL" : "hypercall", counts[VMCALL] * n},
      {intel ? "CR_ACCESS" : "write_cr4", (counts[CR] + (intel ? counts[CR0] : 0)) * n},
      {intel ? NULL : "cr0_sel_write", counts[CR0] * n},
      /* The first access of each lap finds the page known as MMIO already, except in the first lap. */
      {intel ? "EPT_MISCONFIG" : NULL, counts[MMIO] ? (counts[MMIO] + 1) * n - (uint64_t)vcpu_count : 0},
      {vcpu_count > 1 ? NULL : intel ? "EPT_VIOLATION" : "npf",
       first_touches + (intel || !counts[MMIO] ? 0 : (counts[MMIO] + 1) * n - (uint64_t)vcpu_count)},
    };
    bool comma = false;
    printf(",\"reasons\":{");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
      if (!rows[i].name || !rows[i].count) continue;
      printf("%s\"%s\":%llu", comma ? "," : "", rows[i].name, (unsigned long long)rows[i].count);
      comma = true;
    }
    printf("}");
  } else {
    printf(",\"reasons\":null");
  }
  printf(",\"details\":{\"cpuid_leaf\":\"0x%x\",\"read_msr\":\"0x%x\",\"write_msr\":\"0x%x\",\"in_port\":\"0x%x\",\"out_port\":\"0x%x\","
         "\"end_port\":\"0x%x\",\"mmio_gpa\":\"0x%x\",\"hypercall\":\"0x%x\"}}\n",
         CPUID_LEAF, READ_MSR, WRITE_MSR, IN_PORT, OUT_PORT, END_PORT, MMIO_BASE, HYPERCALL);
  fflush(stdout);
}

static const char help[] =
  "exitgen: a tiny VMM whose guest makes an exactly chosen number of each kind of exit\n"
  "\n"
  "  --cpuid N   CPUID             --hlt N     HLT, then an interrupt       --vmcall N  VMCALL (VMMCALL on AMD)\n"
  "  --rdmsr N   RDMSR             --mmio N    writes where no memory is    --pause N   PAUSE: may exit or not\n"
  "  --wrmsr N   WRMSR             --ept N     first touches of a page      --cr N      MOV to CR4 that toggles MCE\n"
  "  --in N      IN                --out N     OUT                          --cr0 N     MOV to CR0 that toggles AM\n"
  "\n"
  "  --vcpus N        that many vCPUs, each makes the whole number (default 1)\n"
  "  --laps N         do everything N times (0: until SIGTERM or SIGINT); pages are fresh in the first lap only\n"
  "  --pace US        pause between laps\n"
  "  --wake US        how often halted vCPUs are looked at and woken (default 100)\n"
  "  --user-hlt       no interrupt controller in the kernel: HLT comes out as KVM_EXIT_HLT\n"
  "  --start-paused   create everything, print READY and the thread ids on stderr, run when a line comes on stdin\n"
  "  --wait FILE      the same, but run when FILE exists\n"
  "  --name NAME      what the virtual machine is called (also -name, as QEMU has it)\n"
  "  --fail-entry     after the first lap make the guest's state invalid: VM entry fails, the machine stays until SIGTERM\n"
  "  --disable-exits N  KVM_CAP_X86_DISABLE_EXITS with these bits: 1 MWAIT, 2 HLT, 4 PAUSE, 8 C-state\n"
  "  --flip LAPS      after so many laps of each vCPU change one of its controls, with 1.5 s of rest before and after\n"
  "  --nested         first the guest turns VMX on and writes fields of a VMCS of its own, which stays current; \"vmcs12\" has them\n"
  "  --registers      at the end give the first vCPU events and local APIC bits that show; \"registers\" has what KVM says of it\n"
  "  --linger SECONDS keep the virtual machine after it has finished\n"
  "\n"
  "At the end one line of JSON says what was made; \"reasons\" has it by the names of the kvm_exit tracepoint.\n"
  "Exit status: 0 made, 1 KVM failed, 2 usage, 3 no /dev/kvm, 4 not KVM.\n";

static uint64_t number(const char *option, const char *text, uint64_t limit) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 0);
  if (errno || *end || end == text || *text == '-' || value > limit) fail(2, "--%s %s: a number up to %llu", option, text, (unsigned long long)limit);
  return value;
}

static void on_signal(int signal) {
  (void)signal;
  ending = 1;
}
static void on_kick(int signal) { (void)signal; }

int main(int argc, char **argv) {
  enum { VCPUS = 100, LAPS, PACE, WAKE, USER_HLT, PAUSED, WAIT, NAME, LINGER, FAIL_ENTRY, DISABLE_EXITS, FLIP, NESTED, REGISTERS, HELP };
  struct option options[KINDS + 16] = {0};
  for (int k = 0; k < KINDS; k++) options[k] = (struct option){kind_names[k], required_argument, NULL, k};
  static const struct option others[] = {
    {"vcpus", 1, NULL, VCPUS}, {"laps", 1, NULL, LAPS}, {"pace", 1, NULL, PACE}, {"wake", 1, NULL, WAKE},
    {"user-hlt", 0, NULL, USER_HLT}, {"start-paused", 0, NULL, PAUSED}, {"wait", 1, NULL, WAIT}, {"name", 1, NULL, NAME},
    {"linger", 1, NULL, LINGER},
    {"fail-entry", 0, NULL, FAIL_ENTRY}, {"disable-exits", 1, NULL, DISABLE_EXITS}, {"flip", 1, NULL, FLIP},
    {"nested", 0, NULL, NESTED}, {"registers", 0, NULL, REGISTERS}, {"help", 0, NULL, HELP}};
  memcpy(options + KINDS, others, sizeof others);
  bool paused = false;
  const char *wait_file = NULL, *name = NULL;
  uint64_t linger = 0;
  int option;
  while ((option = getopt_long_only(argc, argv, "", options, NULL)) != -1) switch (option) {
    case VCPUS: vcpu_count = (int)number("vcpus", optarg, MAX_VCPUS); break;
    case LAPS: laps = number("laps", optarg, UINT32_MAX); break;
    case PACE: pace_us = number("pace", optarg, 3600000000u); break;
    case WAKE: wake_us = number("wake", optarg, 10000000); break;
    case USER_HLT: user_hlt = true; break;
    case PAUSED: paused = true; break;
    case WAIT: wait_file = optarg; break;
    case NAME: name = optarg; break;
    case LINGER: linger = number("linger", optarg, 86400); break;
    case FAIL_ENTRY: fail_entry = true; break;
    case DISABLE_EXITS: disabled_exits = number("disable-exits", optarg, 15); break;
    case FLIP: flip_after = number("flip", optarg, UINT32_MAX); break;
    case NESTED: nested = true; break;
    case REGISTERS: registers = true; break;
    case HELP: fputs(help, stdout); return 0;
    case '?': return 2;
    default: counts[option] = number(kind_names[option], optarg, UINT32_MAX);
  }
  if (optind < argc) fail(2, "unexpected argument %s (see --help)", argv[optind]);
  if (vcpu_count < 1) fail(2, "--vcpus: at least 1");
  if (nested && (vcpu_count > 1 || laps != 1)) fail(2, "--nested is for one vCPU and one lap");
  if (registers && user_hlt) fail(2, "--registers wants the local APIC in the kernel");

  find_vendor();
  FILE *parameter = fopen("/sys/module/kvm/parameters/tdp_mmu", "r");
  if (!parameter || fgetc(parameter) != 'Y') ept_stride = 8 * PAGE;   /* the older MMU maps neighbours too */
  if (parameter) fclose(parameter);

  struct sigaction action = {.sa_handler = on_kick};
  sigaction(SIGUSR1, &action, NULL);
  action.sa_handler = on_signal;
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);

  make_machine();
  pthread_barrier_init(&gate, NULL, (unsigned)vcpu_count + 1);
  for (int i = 0; i < vcpu_count; i++)
    if (pthread_create(&vcpus[i].thread, NULL, run_vcpu, &vcpus[i])) fail(1, "no thread for vCPU %d", i);
  pthread_barrier_wait(&gate);
  if (paused || wait_file) {
    fputs("READY", stderr);
    for (int i = 0; i < vcpu_count; i++) fprintf(stderr, " %d", vcpus[i].tid);
    fputc('\n', stderr);
  }
  if (paused) {
    int c;
    do c = getchar(); while (c != '\n' && c != EOF);
  }
  while (wait_file && !ending && access(wait_file, F_OK) != 0) pause_us(20000);
  pthread_barrier_wait(&gate);
  pthread_t waker;
  bool waking = counts[HLT] && !user_hlt && pthread_create(&waker, NULL, wake_halted, NULL) == 0;
  for (int i = 0; i < vcpu_count; i++) pthread_join(vcpus[i].thread, NULL);
  if (waking) pthread_join(waker, NULL);
  report(name);
  for (uint64_t end = now() + linger * 1000000000u; linger && !ending && now() < end;) pause_us(50000);
  return 0;
}
