import HostFiles
import KernelMemory

/// What is the same for all vCPUs of a host, or depends on the CPU alone: variables of the kernel and of KVM that host
/// state and page addresses are computed from.
struct VMXHost {
  /// The symbols that it wants.
  static let symbols: Set<String> = [
    "gdt_page", "__per_cpu_offset", "vmemmap_base", "vmx_bitmap", "host_efer", "kvm_host",
  ]

  private let core: KernelCore
  private let places: VMXPlaces
  private let pageOffset: UInt64
  private let perCPUOffsets: UInt64?
  private let gdtPage: UInt64?
  private let vmemmap: UInt64
  /// The guest's EFER is compared with it: `host_efer`, or `kvm_host.efer` (6.12 and later).
  let efer: (value: UInt64, how: String)?
  let supervisorCET: UInt64?
  /// Pages of `vmx_bitmap[]`: which fields of its VMCS L1 reads and writes without an exit.
  let vmreadBitmap: UInt64?
  let vmwriteBitmap: UInt64?

  /// `enable_vmware_backdoor` of kvm: it intercepts #GP.
  let hasVMwareBackdoor: Bool

  init(_ source: KernelSource, _ layout: VMXLayout) {
    let (core, symbols) = (source.core, source.symbols)
    self.core = core
    pageOffset = source.pageOffset ?? 0xffff_8880_0000_0000
    places = layout.places
    hasVMwareBackdoor =
      HostFile.line("\(source.roots.sys)/module/kvm/parameters/enable_vmware_backdoor").map { ["Y", "1"].contains($0) }
      ?? false
    perCPUOffsets = symbols.address("__per_cpu_offset", in: [nil])
    gdtPage = symbols.address("gdt_page", in: [nil])
    // Without CONFIG_RANDOMIZE_MEMORY it is a constant, __VMEMMAP_BASE_L4.
    vmemmap = symbols.address("vmemmap_base", in: [nil]).flatMap { core.integer(at: $0) } ?? 0xffff_ea00_0000_0000
    let hostValues = symbols.address("kvm_host", in: ["kvm", nil])
    if let address = symbols.address("host_efer", in: ["kvm", nil]), let value: UInt64 = core.integer(at: address) {
      efer = (value, "the variable host_efer of kvm")
    } else if let hostValues, let value = layout.places.hostEFER?.integer(from: hostValues, core) {
      efer = (value, "kvm_host.efer")
    } else {
      efer = nil
    }
    supervisorCET = hostValues.flatMap { layout.places.hostSCET?.integer(from: $0, core) }
    let bitmaps = symbols.address("vmx_bitmap", in: ["kvm_intel", nil])
    vmreadBitmap = bitmaps.flatMap { core.integer(at: $0) }.flatMap { $0 == 0 ? nil : $0 }
    vmwriteBitmap = bitmaps.flatMap { core.integer(at: $0 &+ 8) }.flatMap { $0 == 0 ? nil : $0 }
  }

  /// Where HOST_TR_BASE and HOST_GDTR_BASE point on a CPU (vmx_vcpu_load_vmcs()): its task state segment, as its global
  /// descriptor table says, and that table's read-only alias; both lie in `struct cpu_entry_area`.
  func descriptorBases(cpu: Int, _ memory: BlockCache) -> (task: UInt64, table: UInt64)? {
    guard let perCPUOffsets, let gdtPage, (0..<1 << 16).contains(cpu), let gdt = places.entryAreaGDT,
      let tss = places.entryAreaTSS, let offset: UInt64 = core.integer(at: perCPUOffsets &+ UInt64(8 * cpu)),
      // GDT_ENTRY_TSS is 8; a system descriptor has 16 bytes (SDM volume 3, "TSS Descriptor in 64-bit mode").
      let low: UInt64 = memory.integer(at: gdtPage &+ offset &+ 64),
      let high: UInt32 = memory.integer(at: gdtPage &+ offset &+ 72)
    else { return nil }
    // Present, an available or busy 64-bit TSS.
    guard low >> 47 & 1 == 1, low >> 40 & 0x1d == 9 else { return nil }
    let task = low >> 16 & 0xff_ffff | (low >> 56) << 24 | UInt64(high) << 32
    let table = task &- UInt64(tss.offset) &+ UInt64(gdt.offset)
    guard table & 0xfff == 0 else { return nil }
    return (task, table)
  }

  /// Of a `struct page`: page_to_phys().
  func physical(page: UInt64) -> UInt64? {
    guard let size = places.pageStructureSize, page >= vmemmap else { return nil }
    let (frame, rest) = (page - vmemmap).quotientAndRemainder(dividingBy: UInt64(size))
    return rest == 0 && frame < 1 << 40 ? frame << 12 : nil
  }

  /// Of a guest's APIC-access page: KVM's private memory slot for 0xfee00000, and the page of the VMM that is mapped there.
  /// `hasFiveLevels` is CR4.LA57 of the host.
  func apicAccessPage(of vm: UInt64, hasFiveLevels: Bool, _ memory: BlockCache) -> UInt64? {
    guard places.apicAccessEnabled?.integer(from: vm, memory).map({ $0 & 0xff != 0 }) ?? false,
      let address = apicSlotAddress(of: vm, memory), let table = places.pageTable?.integer(from: vm, memory)
    else { return nil }
    return page(of: address, in: table, levels: hasFiveLevels ? 5 : 4)
  }

  /// id_to_memslot() of APIC_ACCESS_PAGE_PRIVATE_MEMSLOT.
  private func apicSlotAddress(of vm: UInt64, _ memory: BlockCache) -> UInt64? {
    // KVM_MEM_SLOTS_NUM is SHRT_MAX, the last three are KVM's own, the second of them this one.
    let id: UInt32 = 32765
    guard let slots: UInt64 = places.slots?.integer(from: vm, memory), let hash = places.slotHash,
      let index = places.slotIndex?.integer(from: slots, memory), index < UInt64(places.slotLinks.count),
      let slotID = places.slotID, let frame = places.slotFrame, let pages = places.slotPages,
      let address = places.slotAddress
    else { return nil }
    let link = places.slotLinks[Int(index)]
    // hash_32(id, 7) of include/linux/hash.h.
    let bucket = (id &* 0x61c8_8647) >> 25
    guard var node: UInt64 = memory.integer(at: slots &+ UInt64(hash.offset) &+ UInt64(bucket) * 8) else { return nil }
    for _ in 0..<64 where node != 0 {
      let slot = node &- UInt64(link.offset)
      if slotID.integer(from: slot, memory) == UInt64(id) {
        guard frame.integer(from: slot, memory) == 0xfee00, pages.integer(from: slot, memory) == 1 else { return nil }
        return address.integer(from: slot, memory)
      }
      guard let next: UInt64 = memory.integer(at: node) else { return nil }
      node = next
    }
    return nil
  }

  /// The physical address of the page that a process has at an address (SDM volume 3, "4-Level Paging and 5-Level Paging").
  private func page(of address: UInt64, in table: UInt64, levels: Int) -> UInt64? {
    var table = table
    for level in (1...levels).reversed() {
      let shift = UInt64(12 + 9 * (level - 1))
      guard let entry: UInt64 = core.integer(at: table &+ (address >> shift & 0x1ff) * 8), entry & 1 == 1 else {
        return nil
      }
      let frame = entry & 0x000f_ffff_ffff_f000
      if level == 1 { return frame }
      if entry & 0x80 != 0 {
        guard level <= 3 else { return nil }
        let mask = (1 as UInt64) << shift - 1
        return frame & ~mask | address & mask & ~0xfff
      }
      table = pageOffset &+ frame
    }
    return nil
  }
}
