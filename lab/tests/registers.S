# A guest whose registers are all different: 64 KiB of ROM that goes from the reset vector to long mode, loads every segment,
# descriptor table, control, debug and general register with a value of its own, says U on the first serial port and spins.
# lab/tests/registers.py knows the values that are planted where nothing but vmctop shows them.
#
#   gcc -nostdlib -static -Wl,--build-id=none,-Ttext=0xffff0000,--oformat=binary -o registers.rom registers.S

.intel_syntax noprefix
.set rom, 0xffff0000
# Physical memory: page tables, then the GDT, which LTR writes to.
.set pml4, 0x10000
.set pdpt, 0x11000
.set pd0, 0x12000
.set pd3, 0x13000
.set gdt, 0x14000

.macro msr number, value
  mov ecx, \number
  mov eax, (\value) & 0xffffffff
  mov edx, (\value) >> 32
  wrmsr
.endm

.text
.code16
real:
  cli
  .byte 0x66                 # all 32 bits of the base
  lgdt cs:[boot_gdt - rom]
  mov eax, cr0
  or eax, 1
  mov cr0, eax
  # ljmp 8:protected
  .byte 0x66, 0xea
  .long protected
  .word 8

.code32
protected:
  mov eax, 0x10
  mov ds, eax
  mov es, eax
  mov ss, eax
  cld
  # The first and the last GiB, each where it is, in pages of 2 MiB.
  mov edi, pml4
  mov ecx, 0x5000 / 4
  xor eax, eax
  rep stosd
  mov dword ptr [pml4], pdpt + 7
  mov dword ptr [pdpt], pd0 + 7
  mov dword ptr [pdpt + 24], pd3 + 7
  mov eax, 0x83
  mov edi, pd0
1:
  mov [edi], eax
  lea edx, [eax + 0xc0000000]
  mov [edi + 0x1000], edx
  add eax, 0x200000
  add edi, 8
  cmp edi, pd3
  jb 1b
  mov esi, offset table
  mov edi, gdt
  mov ecx, (table_end - table) / 4
  rep movsd
  mov eax, 0x6a0             # PAE, PGE, OSFXSR, OSXMMEXCPT; not MCE, which KVM has for itself
  mov cr4, eax
  mov eax, pml4
  mov cr3, eax
  msr 0xc0000080, 0xd01      # EFER: SCE, LME, NXE; LMA comes with paging
  mov eax, 0x80050033        # PG, AM, WP, NE, ET, MP, PE
  mov cr0, eax
  lgdt [long_gdt]
  ljmp 0x18, offset long_mode

.code64
long_mode:
  lidt [rip + long_idt]
  mov eax, 0x20
  mov ss, eax
  mov eax, 0x28
  mov ds, eax
  mov eax, 0x33              # RPL 3
  mov es, eax
  mov eax, 0x38
  mov fs, eax
  mov gs, eax
  mov eax, 0x40
  lldt ax
  mov eax, 0x50
  ltr ax
  msr 0xc0000100, 0x00007f1122334450
  msr 0xc0000101, 0x00006f9988776650
  msr 0xc0000102, 0x00005f0011223340
  msr 0xc0000081, 0x0023001800000000
  msr 0xc0000082, 0xffffffff81a00010
  msr 0xc0000083, 0xffffffff81a00020
  msr 0xc0000084, 0x47700
  msr 0x174, 0x18
  msr 0x175, 0x1234567000
  msr 0x176, 0xffffffff81b00030
  movabs rax, 0x00003f00abcde123
  mov cr2, rax
  mov eax, 9
  mov cr8, rax
  mov eax, 0x30001
  mov dr0, rax
  mov eax, 0x30012
  mov dr1, rax
  mov eax, 0x30024
  mov dr2, rax
  movabs rax, 0x0000000130038
  mov dr3, rax
  mov eax, 0x401             # a breakpoint where nothing is executed
  mov dr7, rax
  mov edx, 0x3f8
  mov al, 'U'
  out dx, al
  movabs rsp, 0x0000700000001ff0
  movabs rax, 0x8d5                        # CF, PF, AF, ZF, SF, OF
  mov [0x15000], rax
  movabs rbx, 0xb0b1b2b3b4b5b6b7
  movabs rcx, 0xc0c1c2c3c4c5c6c7
  movabs rdx, 0xd0d1d2d3d4d5d6d7
  movabs rsi, 0x5051525354555657
  movabs rdi, 0xd1d2d3d4d5d6d7d8
  movabs rbp, 0xbab1b2b3b4b5b6b8
  movabs r8, 0x0801020304050607
  movabs r9, 0x0901020304050607
  movabs r10, 0x1001020304050607
  movabs r11, 0x1101020304050607
  movabs r12, 0x1201020304050607
  movabs r13, 0x1301020304050607
  movabs r14, 0x1401020304050607
  movabs r15, 0x1501020304050607
  # The flags, through a stack that is mapped.
  mov rax, rsp
  mov esp, 0x15000
  popfq
  mov rsp, rax
  movabs rax, 0xa0a1a2a3a4a5a6a7
spin:
  jmp spin

.balign 8
# Limit and base of a descriptor table, then the descriptors.
boot_gdt:
  .word boot_table_end - boot_table - 1
  .long boot_table
long_gdt:
  .word table_end - table - 1
  .quad gdt
long_idt:
  .word 0xabf
  .quad 0x16780

.balign 8
boot_table:
  .quad 0
  .quad 0x00cf9b000000ffff   # 0x08 code of 32 bits
  .quad 0x00cf93000000ffff   # 0x10 data
boot_table_end:

.balign 8
table:
  .quad 0
  .quad 0x00cf9b000000ffff   # 0x08
  .quad 0x00cf93000000ffff   # 0x10
  .quad 0x00af9b000000ffff   # 0x18 code of 64 bits
  .quad 0x00cf93000000ffff   # 0x20 SS
  .quad 0x00cff3000000ffff   # 0x28 DS: DPL 3
  .quad 0x00d0f300000012ff   # 0x30 ES: AVL, DPL 3, another limit
  .quad 0x00cf93000000ffff   # 0x38 FS, GS
  .quad 0x0000820080000067, 0   # 0x40 LDT at 0x8000
  .quad 0x00008900900000ab, 0   # 0x50 TSS at 0x9000
table_end:

.org 0xfff0
.code16
reset:
  # jmp near, within the segment of the reset vector
  .byte 0xe9
  .word real - (reset + 3)
.org 0x10000
