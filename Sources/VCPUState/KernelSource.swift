import HostFiles
import KernelMemory

/// What the state of vCPUs is read with, opened once: the kernel's memory, the types and symbols of the module that runs
/// the guests, and its parameters.
struct KernelSource {
  let roots: HostRoots
  let module: String
  let core: KernelCore
  let types: TypeInformation
  let symbols: KernelSymbols
  /// Where the direct map of physical memory begins; nil where the variable cannot be read.
  let pageOffset: UInt64?
  /// Of the module, by name.
  let parameters: [String: String]

  /// - Parameters:
  ///   - wanted: the symbols that the module's reader looks for, beside those that every reader needs.
  ///   - isCancelled: asked between the steps; true gives it up.
  /// - Throws: where one of the sources is missing; the error says what helps.
  init(
    module: String, symbols wanted: Set<String>, roots: HostRoots, _ isCancelled: () -> Bool
  ) throws(KernelMemoryError) {
    self.roots = roots
    self.module = module
    core = try KernelCore(path: "\(roots.proc)/kcore")
    types = try Self.types(module, roots, isCancelled)
    symbols = try KernelSymbols(
      path: "\(roots.proc)/kallsyms", wanted: wanted.union([VirtualMachines.symbol, "page_offset_base"]),
      isCancelled: isCancelled)
    // Without CONFIG_RANDOMIZE_MEMORY it is a constant, __PAGE_OFFSET_BASE_L4.
    if let variable = symbols.address("page_offset_base", in: [nil]) {
      pageOffset = core.integer(at: variable)
    } else {
      pageOffset = 0xffff_8880_0000_0000
    }
    parameters = Self.parameters(of: module, roots)
  }

  private static func types(
    _ module: String, _ roots: HostRoots, _ isCancelled: () -> Bool
  ) throws(KernelMemoryError) -> TypeInformation {
    func read(_ name: String) throws(KernelMemoryError) -> [UInt8] {
      if isCancelled() { throw .cancelled }
      let path = "\(roots.sys)/kernel/btf/\(name)"
      do {
        return try HostFile.bytes(path, limit: 64 << 20)
      } catch {
        throw KernelMemoryError(
          "\(error)",
          hint: error.isAbsence ? "the kernel was built without CONFIG_DEBUG_INFO_BTF or ..._BTF_MODULES" : nil)
      }
    }
    let kernel = try TypeInformation(try read("vmlinux"), name: "/sys/kernel/btf/vmlinux")
    // A module that is built in has its types in vmlinux.
    guard
      HostFile.exists("\(roots.sys)/kernel/btf/\(module)") || HostFile.exists("\(roots.sys)/module/\(module)/initstate")
    else { return kernel }
    return try TypeInformation(try read(module), base: kernel, name: "/sys/kernel/btf/\(module)")
  }

  static func parameters(of module: String, _ roots: HostRoots) -> [String: String] {
    var result: [String: String] = [:]
    for name in (try? HostFile.names("\(roots.sys)/module/\(module)/parameters")) ?? [] {
      result[name] = HostFile.line("\(roots.sys)/module/\(module)/parameters/\(name)")
    }
    return result
  }

  /// The value of a variable of the module.
  func variable(_ name: String) -> UInt64? {
    symbols.address(name, in: [module, nil]).flatMap { [core] in core.integer(at: $0) }
  }
}
