import FakeKernel
import Foundation
import RandomSupport
import Testing

@testable import KernelMemory

@Suite("Kernel memory")
struct KernelCoreTests {
  private static let direct: UInt64 = 0xffff_8880_0000_0000
  private static let vmalloc: UInt64 = 0xffff_c900_0000_0000

  private static var core: FakeCore {
    var core = FakeCore()
    core.add((0..<4096).map { UInt8(truncatingIfNeeded: $0) }, at: vmalloc)
    core.add([UInt8](repeating: 0xAA, count: 256), at: direct)
    return core
  }

  @Test("is read at its addresses, and only there")
  func reading() throws {
    let file = TemporaryFile(Self.core.bytes)
    let core = try KernelCore(path: file.path)
    #expect(core.integer(at: Self.vmalloc + 1, as: UInt16.self) == 0x0201)
    #expect(core.integer(at: Self.direct, as: UInt32.self) == 0xAAAA_AAAA)
    #expect(core.bytes(at: Self.vmalloc + 4092, count: 4) == [0xFC, 0xFD, 0xFE, 0xFF])
    #expect(core.reads == 3)
    for (address, count) in [
      (Self.vmalloc + 4093, 4), (Self.vmalloc - 1, 4), (Self.direct + 255, 2), (0, 8), (UInt64.max, 1),
      (UInt64.max - 6, 8),
      (Self.vmalloc, 0), (Self.vmalloc, -1), (Self.vmalloc, .max),
    ] { #expect(core.bytes(at: address, count: count) == nil) }
    #expect(core.reads == 3, "nothing was asked of the kernel")
  }

  @Test("that is cut off or made of nonsense is refused, or reads what is there")
  func hostileFiles() throws {
    let whole = Self.core.bytes
    for length in stride(from: 0, to: whole.count, by: 3) {
      let file = TemporaryFile(Array(whole.prefix(length)))
      guard let core = try? KernelCore(path: file.path) else { continue }
      #expect((core.bytes(at: Self.vmalloc, count: 4096) != nil) == (length >= 232 + 4096))
    }
    var generator = Dice(seed: 1)
    for _ in 0..<400 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...8, using: &generator) {
        bytes[Int.random(in: 0..<232, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      let file = TemporaryFile(bytes)
      guard let core = try? KernelCore(path: file.path) else { continue }
      for segment in core.segments {
        _ = core.bytes(at: segment.address, count: 16)
        _ = core.bytes(at: segment.address &+ segment.size &- 8, count: 16)
      }
    }
    #expect(throws: KernelMemoryError.self) { try KernelCore(path: "/nonexistent") }
  }
}

@Suite("Kernel symbols")
struct KernelSymbolsTests {
  @Test("are found by name and module, and not where a module has two of the name")
  func symbols() throws {
    let text = """
      ffffffff81000000 T _text
      ffffffff82000000 d vm_list
      ffffffffc0a01000 d vm_list\t[kvm]
      ffffffffc0b01000 d vmcs_config\t[kvm_intel]
      ffffffffc0b02000 d state\t[kvm_intel]
      ffffffffc0b03000 d state\t[kvm_intel]
      ffffffffc0b04000 d vm_list_of_others [kvm]
      nonsense

      ffffffffc0c00000 d
      ffffffffc0b05000 d last [kvm_intel]
      """
    let file = TemporaryFile(Array(text.utf8))
    let symbols = try KernelSymbols(path: file.path, wanted: ["vm_list", "vmcs_config", "state", "last", "absent"])
    #expect(symbols.address("vm_list", in: ["kvm", nil]) == 0xffff_ffff_c0a0_1000)
    #expect(symbols.address("vm_list", in: [nil]) == 0xffff_ffff_8200_0000)
    #expect(symbols.address("vmcs_config", in: ["kvm_intel", nil]) == 0xffff_ffff_c0b0_1000)
    #expect(symbols.address("vmcs_config", in: ["kvm"]) == nil)
    #expect(symbols.address("state", in: ["kvm_intel"]) == nil)
    #expect(symbols.address("last", in: ["kvm_intel"]) == 0xffff_ffff_c0b0_5000, "without a newline at the end")
    #expect(symbols.address("absent", in: [nil]) == nil)
  }

  @Test("whose addresses are hidden are an error that says what helps")
  func hidden() {
    let line = "0000000000000000 d vm_list\t[kvm]\n"
    let file = TemporaryFile(Array(String(repeating: line, count: 3000).utf8))
    do {
      _ = try KernelSymbols(path: file.path, wanted: ["vm_list"])
      Issue.record("they were taken")
    } catch { #expect(error.hint?.contains("kptr_restrict") == true) }
  }
}

@Suite("Types of the kernel")
struct TypeInformationTests {
  /// struct vcpu { u64 id; struct vmcs *loaded; u64 regs[4]; union { u32 low; struct { u8 a, b; }; }; u32 flag : 3, rest : 29; }
  /// struct vmcs { u32 cpu; struct { u32 pin, exec; } shadow; struct vcpu *owner; }, its shadow in a typedef of const.
  private static func fake() -> (types: FakeTypes, module: FakeTypes) {
    var types = FakeTypes()
    let u8 = types.integer("unsigned char", bytes: 1)
    let u32 = types.integer("unsigned int", bytes: 4)
    let u64 = types.integer("unsigned long", bytes: 8)
    _ = types.enumeration("kvm_reg", [("VCPU_REGS_RAX", 0), ("VCPU_EXREG_CR3", 19), ("NEGATIVE", -2)])
    let shadow = types.structure("shadow", size: 8, [.init("pin", u32, at: 0), .init("exec", u32, at: 4)])
    let alias = types.typedef("shadow_t", types.raw(kind: 10, sizeOrType: shadow))
    // Ids of what comes later are known in advance, as in real BTF.
    let vcpuPointer = types.nextID
    _ = types.pointer(to: vcpuPointer + 6)
    let vmcs = types.structure(
      "vmcs", size: 24, [.init("cpu", u32, at: 0), .init("shadow", alias, at: 4), .init("owner", vcpuPointer, at: 16)])
    let pointer = types.pointer(to: vmcs)
    let array = types.array(of: u64, count: 4)
    let inner = types.structure("", size: 2, [.init("a", u8, at: 0), .init("b", u8, at: 1)])
    let union = types.structure("", size: 4, isUnion: true, [.init("low", u32, at: 0), .init("", inner, at: 0)])
    _ = types.structure(
      "vcpu", size: 56,
      [
        .init("id", u64, bits: 0), .init("loaded", pointer, bits: 64), .init("regs", array, bits: 128),
        .init("", union, bits: 384), .init("flag", u32, bits: 416, width: 3), .init("rest", u32, bits: 419, width: 29),
      ])
    var module = FakeTypes(after: types)
    let own = module.array(of: u32, count: 2)
    _ = module.structure("vcpu_vmx", size: 64, [.init("vcpu", vcpuPointer + 6, at: 0), .init("own", own, at: 56)])
    return (types, module)
  }

  @Test(
    "resolve paths into offsets: members, arrays, pointers, anonymous unions, bit fields, typedefs, a module's types")
  func paths() throws {
    let (types, module) = Self.fake()
    let base = try TypeInformation(types.bytes)
    let info = try TypeInformation(module.bytes, base: base)
    #expect(info.size(ofStructure: "vcpu_vmx") == 64)
    #expect(info.size(ofStructure: "vmcs") == 24)
    func offset(_ path: String) -> Int? { info.path("vcpu_vmx", path).map(\.offset) }
    #expect(offset("vcpu.id") == 0)
    #expect(offset("vcpu.regs[3]") == 40)
    #expect(offset("vcpu.low") == 48)
    #expect(offset("vcpu.b") == 49)
    #expect(offset("own[1]") == 60)
    for absent in [
      "vcpu.regs[4]", "vcpu.none", "own[2]", "vcpu.id->x", "vcpu->id", "own[x]", "own[-1]", "..->", "[", "own[",
    ] {
      #expect(info.path("vcpu_vmx", absent) == nil, "\(absent)")
    }
    #expect(info.path("nothing", "id") == nil)
    let exec = try #require(info.path("vcpu_vmx", "vcpu.loaded->shadow.exec"))
    #expect((exec.pointers, exec.offset, exec.size) == ([8], 8, 4))
    let around = try #require(info.path("vcpu", "loaded->owner->loaded->cpu"))
    #expect((around.pointers, around.offset) == ([8, 16, 8], 0))
    var bytes = [UInt8](repeating: 0, count: 64)
    bytes.replaceSubrange(52..<56, with: [0b1010_1101, 1, 0, 0])
    #expect(info.path("vcpu", "flag")?.integer(in: bytes) == 0b101)
    #expect(info.path("vcpu", "rest")?.integer(in: bytes) == 0b1_1010_1)
    #expect(info.path("vcpu", "rest")?.integer(in: Array(bytes.prefix(54))) == nil)
    #expect(exec.integer(in: bytes) == nil, "behind a pointer")
    #expect(info.enumerator("VCPU_EXREG_CR3") == 19)
    #expect(info.enumerator("NEGATIVE") == -2)
    #expect(info.enumerator("VCPU_EXREG_CR9") == nil)
  }

  @Test("lead to values in kernel memory")
  func following() throws {
    let (types, module) = Self.fake()
    let info = try TypeInformation(module.bytes, base: try TypeInformation(types.bytes))
    var fake = FakeCore()
    let (vcpu, vmcs): (UInt64, UInt64) = (0xffff_8880_0000_1000, 0xffff_8880_0000_2000)
    fake.add([UInt8](repeating: 0, count: 64), at: vcpu)
    fake.add([UInt8](repeating: 0, count: 24), at: vmcs)
    fake.put(vmcs, at: vcpu + 8)
    fake.put(UInt32(0xb598_6dfa), at: vmcs + 8)
    let file = TemporaryFile(fake.bytes)
    let core = try KernelCore(path: file.path)
    let exec = try #require(info.path("vcpu_vmx", "vcpu.loaded->shadow.exec"))
    let address = try #require(exec.address(from: vcpu, core))
    #expect(core.integer(at: address, as: UInt32.self) == 0xb598_6dfa)
    #expect(try #require(info.path("vcpu", "loaded->owner->id")).address(from: vcpu, core) == nil, "a null pointer")
  }

  @Test("cut off or made of nonsense are refused or lack what they lack, and nothing goes on for ever")
  func hostileBytes() throws {
    let (types, module) = Self.fake()
    let base = try TypeInformation(types.bytes)
    for length in 0..<types.bytes.count { _ = try? TypeInformation(Array(types.bytes.prefix(length))) }
    var generator = Dice(seed: 2)
    for _ in 0..<3000 {
      var bytes = Bool.random(using: &generator) ? types.bytes : module.bytes
      for _ in 0..<Int.random(in: 1...6, using: &generator) {
        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      guard let info = try? TypeInformation(bytes, base: base) else { continue }
      for path in ["vcpu.loaded->shadow.exec", "loaded->owner->regs[2]", "b", "flag", "own[1]", "vcpu.rest"] {
        for name in ["vcpu_vmx", "vcpu", "vmcs"] { _ = info.path(name, path) }
      }
      _ = info.enumerator("VCPU_EXREG_CR3")
      _ = info.size(ofStructure: "vcpu_vmx")
    }
  }

  @Test("that are only declared in one place are found where they are defined")
  func forwards() throws {
    var types = FakeTypes()
    let u32 = types.integer("unsigned int", bytes: 4)
    let declared = types.pointer(to: types.forward("kvm_lapic"))
    _ = types.structure("vcpu", size: 8, [.init("apic", declared, at: 0)])
    let unknown = types.pointer(to: types.forward("nowhere"))
    _ = types.structure("other", size: 8, [.init("apic", unknown, at: 0)])
    _ = types.structure("kvm_lapic", size: 8, [.init("pad", u32, at: 0), .init("regs", u32, at: 4)])
    let info = try TypeInformation(types.bytes)
    #expect(info.path("vcpu", "apic->regs")?.offset == 4)
    #expect(info.path("other", "apic->regs") == nil)
  }

  @Test("that contain themselves end")
  func circles() throws {
    var types = FakeTypes()
    let me = types.nextID
    _ = types.structure("me", size: 8, (0..<50).map { _ in .init("", me, at: 0) })
    _ = types.raw(kind: 8, sizeOrType: types.nextID)
    _ = types.structure("typedef", size: 8, [.init("x", me + 1, at: 0)])
    _ = types.array(of: types.nextID, count: 1000)
    _ = types.structure("array", size: 8, [.init("x", me + 3, at: 0)])
    let info = try TypeInformation(types.bytes)
    #expect(info.path("me", "nothing") == nil)
    #expect(info.path("typedef", "x") == nil)
    #expect(info.path("array", "x") == nil)
  }

  @Test("of this machine's kernel have the structures that every kernel has")
  func realKernel() throws {
    let path = "/sys/kernel/btf/vmlinux"
    guard let data = FileManager.default.contents(atPath: path) else {
      print("SKIPPED: no \(path) on this machine: the kernel's own types are not read")
      return
    }
    let info = try TypeInformation(Array(data), name: path)
    let next = try #require(info.path("list_head", "next"))
    let previous = try #require(info.path("list_head", "prev"))
    #expect((next.offset, next.size, previous.offset, previous.size) == (0, 8, 8, 8))
    #expect(info.path("task_struct", "mm->pgd") != nil)
    #expect(info.path("task_struct", "comm")?.size == 16)
    #expect(info.path("task_struct", "comm[15]")?.size == 1)
    #expect(info.path("list_head", "next->next->prev")?.pointers == [0, 0])
  }
}
