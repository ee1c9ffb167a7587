#define _GNU_SOURCE
#include "tinyguest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// 0: out %al,$0x80 ; dec %ecx ; jnz 0 ; hlt      (dec and jnz with a 32-bit operand prefix where needed)
static const unsigned char code[] = {0xe6, 0x80, 0x66, 0x49, 0x75, 0xfa, 0xf4};

int tinyguest_thread(void) { return (int)syscall(SYS_gettid); }

struct tinyguest_result tinyguest_run(unsigned int outs) {
  struct tinyguest_result result = {0, "", 0, tinyguest_thread()};
  int kvm = -1, vm = -1, vcpu = -1;
  void *memory = MAP_FAILED;
  struct kvm_run *run = MAP_FAILED;
  int run_size = 0;
#define TRY(what, condition) do { if (!(condition)) { result.error = errno ? errno : EIO; result.failed = what; goto out; } } while (0)
  TRY("open /dev/kvm", (kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC)) >= 0);
  TRY("KVM_CREATE_VM", (vm = ioctl(kvm, KVM_CREATE_VM, 0)) >= 0);
  ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000);  // only kvm_intel needs it
  memory = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  TRY("mmap", memory != MAP_FAILED);
  memcpy((char *)memory + 0x1000, code, sizeof code);
  struct kvm_userspace_memory_region region = {.memory_size = 0x10000, .userspace_addr = (unsigned long)memory};
  TRY("KVM_SET_USER_MEMORY_REGION", ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0);
  TRY("KVM_CREATE_VCPU", (vcpu = ioctl(vm, KVM_CREATE_VCPU, 0)) >= 0);
  TRY("KVM_GET_VCPU_MMAP_SIZE", (run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0)) > 0);
  run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  TRY("mmap kvm_run", run != MAP_FAILED);
  struct kvm_sregs special;
  TRY("KVM_GET_SREGS", ioctl(vcpu, KVM_GET_SREGS, &special) == 0);
  special.cs.base = 0;
  special.cs.selector = 0;
  TRY("KVM_SET_SREGS", ioctl(vcpu, KVM_SET_SREGS, &special) == 0);
  struct kvm_regs registers = {.rip = 0x1000, .rflags = 2, .rcx = outs};
  TRY("KVM_SET_REGS", ioctl(vcpu, KVM_SET_REGS, &registers) == 0);
  for (;;) {
    if (ioctl(vcpu, KVM_RUN, 0) != 0) {
      if (errno == EINTR) continue;
      TRY("KVM_RUN", 0);
    }
    if (run->exit_reason == KVM_EXIT_IO) result.outs++;
    else if (run->exit_reason == KVM_EXIT_HLT) break;
    else { errno = 0; TRY("unexpected exit", 0); }
  }
out:
  if (run != MAP_FAILED) munmap(run, (size_t)run_size);
  if (vcpu >= 0) close(vcpu);
  if (vm >= 0) close(vm);
  if (kvm >= 0) close(kvm);
  if (memory != MAP_FAILED) munmap(memory, 0x10000);
  return result;
}

int tinyguest_idle(int *vcpu) {
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) return -errno;
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  int error = errno;
  close(kvm);
  if (vm < 0) return -error;
  *vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  if (*vcpu < 0) {
    error = errno;
    close(vm);
    return -error;
  }
  return vm;
}
