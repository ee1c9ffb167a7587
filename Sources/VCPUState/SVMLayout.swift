import Architecture
import KernelMemory

/// Where this kernel keeps what is read of an SVM vCPU (`arch/x86/kvm/svm/svm.h`): each path resolved once from BTF, the first
/// alternative that the kernel has.
struct SVMLayout: Sendable {
  let kvm: KVMLayout
  let registers: KVMRegisters

  /// The VMCB in force: `vmcb`, in all kernels so far a shorthand of `current_vmcb->ptr`.
  let vmcb: MemberPath
  /// L1's own VMCB: from 5.13 beside that of L2; before, `nested.hsave` has its controls while L2 is current.
  let vmcb01: MemberPath?
  let hsave: MemberPath?
  /// The MSR permission map of L1, and that of L2 merged with it.
  let msrpm: MemberPath?
  let nestedMSRPM: MemberPath?
  let mode: MemberPath?
  /// Counts exits: tells whether the guest ran while it was read.
  let exits: MemberPath?
  let values: [String: MemberPath]
  /// `nested.ctl`: what L1 wrote into the control area of its guest's VMCB, by field.
  let nestedControls: [(field: VMCBField, path: MemberPath)]

  /// - Throws: where the types lack what nothing goes without.
  init(_ types: TypeInformation) throws(KernelMemoryError) {
    kvm = try KVMLayout(types, vcpu: "vcpu_svm")
    registers = KVMRegisters(types, vcpu: "vcpu_svm")
    if let path = types.path("vcpu_svm", "vmcb") {
      vmcb = path
    } else {
      vmcb = try types.need("vcpu_svm", "current_vmcb->ptr")
    }
    vmcb01 = types.path("vcpu_svm", "vmcb01.ptr")
    hsave = types.path("vcpu_svm", "nested.hsave")
    msrpm = types.path("vcpu_svm", "msrpm")
    nestedMSRPM = types.path("vcpu_svm", "nested.msrpm")
    mode = types.path("vcpu_svm", "vcpu.mode")
    exits = types.path("vcpu_svm", "vcpu.stat.exits")
    values = types.paths(
      "vcpu_svm",
      [
        ("hflags", ["vcpu.arch.hflags"]), ("guest_debug", ["vcpu.guest_debug"]), ("nmi_masked", ["nmi_masked"]),
        ("apic", ["vcpu.arch.apic"]),
      ])
    nestedControls = VMCBField.rows.compactMap { field in
      guard field.name.hasPrefix("control.") else { return nil }
      return types.path("vcpu_svm", "nested.ctl." + field.name.dropFirst("control.".count)).map { (field, $0) }
    }
  }
}
