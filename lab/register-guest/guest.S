/* A BIOS of 64 KiB that does one thing: it enters a mode of the processor, gives every register a value of its own, and stays
   there. One image per MODE; README.md says how to start it. Linked at 0xf0000, where a PC shows the end of its BIOS. */
#define LONG 1
#define USER 2
#define COMPATIBILITY 3
#define PROTECTED 4
#define REAL 5

#if MODE == LONG || MODE == USER || MODE == COMPATIBILITY
#define PAGING 1
#define HIGH 0xffffff8000000000
#else
#define HIGH 0
#endif

#define GDT 0x6000
#define IDT 0x7000
#define TSS 0x8000
#define LDT 0x9000
#define TABLES 0x10000

  .text
  .code16
  .globl start
start:
  cli
#if MODE == REAL
  lgdtl %cs:real_gdtr - 0xf0000
  lidtl %cs:real_idtr - 0xf0000
  movl $0x0000c0de, %eax
  movl %eax, %cr2
  movl $0x00000088, %eax        /* DE, PGE */
  movl %eax, %cr4
  movw $0x1230, %ax
  movw %ax, %ds
  movw $0x2340, %ax
  movw %ax, %es
  movw $0x3450, %ax
  movw %ax, %fs
  movw $0x4560, %ax
  movw %ax, %gs
  movw $0x0500, %ax
  movw %ax, %ss
  movl $0x00000ffc, %esp
  outb %al, $0xe9               /* all but the general registers is there */
  pushl $0x00000246
  popfl
  movl $0xa0a0a0a1, %eax
  movl $0xb0b0b0b2, %ebx
  movl $0xc0c0c0c3, %ecx
  movl $0xd0d0d0d4, %edx
  movl $0x51515155, %esi
  movl $0xd1d1d1d6, %edi
  movl $0xb9b9b9b7, %ebp
1: jmp 1b
#else
  lgdtl %cs:rom_gdtr - 0xf0000
  movl %cr0, %eax
  andl $0x9fffffff, %eax        /* caching on: CD and NW are set at reset */
  orl $1, %eax
  movl %eax, %cr0
  ljmpl $0x08, $protected

  .code32
protected:
  movw $0x10, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movl $0x5000, %esp
  /* LTR and LLDT write into the table: it has to be in memory. */
  cld
  movl $table, %esi
  movl $GDT, %edi
  movl $(table_end - table), %ecx
  rep movsb
  lgdtl ram_gdtr
  movl $0x0bad5eed, %eax
  movl %eax, %cr2
  movl $0x11111000, %eax
  movl %eax, %dr0
  movl $0x22222000, %eax
  movl %eax, %dr1
  movl $0x33333000, %eax
  movl %eax, %dr2
  movl $0x44444000, %eax
  movl %eax, %dr3
#ifdef PAGING
  movl $TABLES, %edi
  xorl %eax, %eax
  movl $0x3000, %ecx
  rep stosb
  movl $(TABLES + 0x1007), TABLES
  movl $(TABLES + 0x1007), TABLES + 0xff8
  movl $(TABLES + 0x2007), TABLES + 0x1000
  movl $0x87, TABLES + 0x2000   /* the first 2 MiB, for user mode too */
  movl $(TABLES + 0x18), %eax   /* PWT and PCD, to be told from the address */
  movl %eax, %cr3
  movl $0x000006a8, %eax        /* DE, PAE, PGE, OSFXSR, OSXMMEXCPT */
  movl %eax, %cr4
  movl $0xc0000080, %ecx
  movl $0x00000901, %eax        /* SCE, LME, NXE */
  xorl %edx, %edx
  wrmsr
  movl $0x80050033, %eax        /* PG, AM, WP, NE, ET, MP, PE */
  movl %eax, %cr0
  ljmpl $0x18, $long_mode

  .code64
long_mode:
  lgdt high_gdtr
  lidt high_idtr
  movw $0x50, %ax
  ltr %ax
  movw $0x60, %ax
  lldt %ax
  movw $0x28, %ax
  movw %ax, %ds
  movw $0x30, %ax
  movw %ax, %es
  movw $0x38, %ax
  movw %ax, %fs
  movw $0x40, %ax
  movw %ax, %gs
  movl $0xc0000100, %ecx        /* IA32_FS_BASE */
  movl $0x22334000, %eax
  movl $0x00007f11, %edx
  wrmsr
  movl $0xc0000101, %ecx        /* IA32_GS_BASE */
  movl $0x55667000, %eax
  movl $0xffff8044, %edx
  wrmsr
  outb %al, $0xe9               /* all but the general registers is there */
  movq $0x0000455, %rax         /* breakpoints on instructions that are never reached */
  movq %rax, %dr7
  /* Interrupts are on, and none comes: Bochs 2.7 has no exit for the host's while a guest spins with its own off. */
#if MODE == USER
  pushq $0x4b                   /* SS */
  pushq $0x0000000000004ff0
  pushq $0xad7
  pushq $0x23                   /* CS, privilege level 3 */
  pushq $stay
#elif MODE == COMPATIBILITY
  pushq $0x10
  pushq $0x4fe0
  pushq $0x3ed7
  pushq $0x08
  pushq $stay
#else
  pushq $0x10
  movabsq $0xffffff8000004fd0, %rax
  pushq %rax
  pushq $0x3ed7
  pushq $0x18
  movabsq $(HIGH + stay), %rax
  pushq %rax
#endif
  movabsq $0xa0a1a2a3a4a5a6a7, %rax
  movabsq $0xb0b1b2b3b4b5b6b7, %rbx
  movabsq $0xc0c1c2c3c4c5c6c7, %rcx
  movabsq $0xd0d1d2d3d4d5d6d7, %rdx
  movabsq $0x5051525354555657, %rsi
  movabsq $0xd9dadbdcdddedfd0, %rdi
  movabsq $0xb8b9babbbcbdbebf, %rbp
  movabsq $0x0800000000000008, %r8
  movabsq $0x0900000000000009, %r9
  movabsq $0x1000000000000010, %r10
  movabsq $0x1100000000000011, %r11
  movabsq $0x1200000000000012, %r12
  movabsq $0x1300000000000013, %r13
  movabsq $0x1400000000000014, %r14
  movabsq $0x1500000000000015, %r15
  iretq
#if MODE == COMPATIBILITY
  .code32
#endif
stay:
  jmp stay
#else
  lidtl ram_idtr
  movw $0x50, %ax
  ltr %ax
  movw $0x60, %ax
  lldt %ax
  movw $0x28, %ax
  movw %ax, %ds
  movw $0x30, %ax
  movw %ax, %es
  movw $0x38, %ax
  movw %ax, %fs
  movw $0x40, %ax
  movw %ax, %gs
  movl $0x000000c8, %eax        /* DE, MCE, PGE */
  movl %eax, %cr4
  outb %al, $0xe9               /* all but the general registers is there */
  pushl $0x00003cd7
  popfl
  movl $0xa0a1a2a3, %eax
  movl $0xb0b1b2b3, %ebx
  movl $0xc0c1c2c3, %ecx
  movl $0xd0d1d2d3, %edx
  movl $0x50515253, %esi
  movl $0xd8d9dadb, %edi
  movl $0xb8b9babb, %ebp
1: hlt                          /* IF is 0: it halts for ever */
  jmp 1b
#endif
#endif

  .balign 16
/* Descriptors have their accessed bit set: loading one writes nothing into it. (The assembler gives | and & one rank.) */
#define DESCRIPTOR(base, limit, rights, flags) \
  .word (limit) & 0xffff, (base) & 0xffff; \
  .byte ((base) >> 16) & 0xff, rights, ((flags) << 4) | (((limit) >> 16) & 15), ((base) >> 24) & 0xff
table:
  .quad 0
  DESCRIPTOR(0, 0xfffff, 0x9b, 0xc)          /* 08: 32-bit code */
  DESCRIPTOR(0, 0xfffff, 0x93, 0xc)          /* 10: data */
  DESCRIPTOR(0, 0xfffff, 0x9b, 0xa)          /* 18: 64-bit code */
  DESCRIPTOR(0, 0xfffff, 0xfb, 0xa)          /* 20: 64-bit code, user */
  DESCRIPTOR(0x00120000, 0x12345, 0x93, 0x4) /* 28: DS */
  DESCRIPTOR(0x00230000, 0x23456, 0x91, 0x5) /* 30: ES, read-only, with AVL */
  DESCRIPTOR(0x34000000, 0x34567, 0x93, 0xc) /* 38: FS, in pages */
  DESCRIPTOR(0x45000000, 0x00678, 0xf3, 0x4) /* 40: GS, user */
  DESCRIPTOR(0, 0xfffff, 0xf3, 0xc)          /* 48: data, user */
  DESCRIPTOR(TSS, 0x0077, 0x89, 0)           /* 50: TSS */
  .quad HIGH >> 32
  DESCRIPTOR(LDT, 0x0037, 0x82, 0)           /* 60: LDT */
  .quad HIGH >> 32
table_end:
rom_gdtr:
  .word table_end - table - 1
  .long table
ram_gdtr:
  .word table_end - table - 1
  .long GDT
ram_idtr:
  .word 0x1ff
  .long IDT
high_gdtr:
  .word table_end - table + 15
  .quad HIGH + GDT
high_idtr:
  .word 0xfef
  .quad HIGH + IDT
real_gdtr:
  .word 0x0047
  .long 0x00012340
real_idtr:
  .word 0x03ef
  .long 0x00000010

  .org 0xfff0
  .code16
  ljmpw $0xf000, $(start - 0xf0000)
  .org 0xffff
  .byte 0
