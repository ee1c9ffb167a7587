// swift-tools-version: 6.2
import PackageDescription

// One job per target; imports run one way, downward. docs/architecture.md says what lives where.
let strict: [SwiftSetting] = [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
  .testTarget(name: "\(name)Tests", dependencies: dependencies, exclude: exclude, swiftSettings: strict)
}

let package = Package(
  name: "vmctop",
  products: [.executable(name: "vmctop", targets: ["vmctop"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    .executableTarget(
      name: "vmctop",
      dependencies: [
        "Architecture", "TraceFormat", "KernelMemory", "VCPUState", "KVMHost", "Tracefs", "Sampler", "Recording",
        "Aggregator", "Session", "Report", "Export", "Screen", "Front", "Wording", "CDemo", "HostFiles", "Errors",
        "Threads",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict),
    .executableTarget(
      name: "vmctop-bench",
      dependencies: [
        "Aggregator", "TraceFormat", "Recording", "Session", "CDemo", "CTinyGuest", "CInstructionCount",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict),
    library("Front", ["Screen", "Wording", "Aggregator", "Architecture", "TraceFormat", "Errors", "CNcurses"]),
    library("Report", ["Wording", "Aggregator", "Architecture", "Errors"]),
    library("Export", ["Wording", "Aggregator", "Recording", "TraceFormat", "Architecture"]),
    library(
      "Session",
      [
        "Aggregator", "Sampler", "Tracefs", "Recording", "KVMHost", "VCPUState", "KernelMemory", "TraceFormat",
        "Architecture", "HostFiles", "Errors", "Threads",
      ]),
    library("Sampler", ["Tracefs", "KVMHost", "KernelMemory", "HostFiles", "TraceFormat", "Errors"]),
    library("Recording", ["TraceFormat", "Architecture", "HostFiles", "Errors", "Threads", "CRecording", "CZstd"]),
    library("Aggregator", ["Architecture", "TraceFormat", "HostFiles", "Errors"]),
    library("Tracefs", ["TraceFormat", "HostFiles", "Errors", "CSignals"]),
    library("KVMHost", ["Architecture", "HostFiles", "Errors"]),
    library("VCPUState", ["KernelMemory", "HostFiles", "Architecture"]),
    library("KernelMemory", ["HostFiles", "Errors"]),
    library("HostFiles", ["Errors"]),
    library("Errors"),
    library("Threads", ["CSignals"]),
    .target(name: "CSignals"),
    .target(name: "CRecording"),
    library("TraceFormat", ["HostFiles", "Errors", "CZlib", "CZstd"]),
    library("Architecture", ["Errors"]),
    library("Screen"),
    library("Wording", ["Aggregator", "Architecture"]),
    .target(
      name: "CNcurses",
      path: "CNcurses",
      cSettings: [
        .define("NCURSES_WIDECHAR", to: "1"), .define("_XOPEN_SOURCE", to: "700"), .define("_DEFAULT_SOURCE"),
      ],
      linkerSettings: [.linkedLibrary("ncursesw"), .linkedLibrary("tinfo")]),
    .target(name: "CDemo", exclude: ["demo.trace.dat"], cSettings: [.unsafeFlags(["-Wno-c23-extensions"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    tests("Architecture", ["Architecture", "RandomSupport"]),
    tests("TraceFormat", ["TraceFormat", "Recording", "RandomSupport"]),
    tests(
      "Aggregator", ["Aggregator", "TraceFormat", "Architecture", "Recording", "SnapshotSupport", "RandomSupport"]),
    tests("Tracefs", ["Tracefs", "TraceFormat", "HostFiles", "CSignals", "CTinyGuest", "tracefs-holder"]),
    tests("KVMHost", ["KVMHost", "KernelMemory", "HostFiles", "Architecture", "FakeVMM", "RandomSupport"]),
    tests("KernelMemory", ["KernelMemory", "FakeKernel", "RandomSupport"]),
    tests("VCPUState", ["VCPUState", "KernelMemory", "Architecture", "FakeKernel", "RandomSupport"]),
    tests("Recording", ["Recording", "TraceFormat", "Architecture", "vmctop-bench"]),
    tests("Sampler", ["Sampler", "Tracefs", "TraceFormat", "HostFiles", "CTinyGuest"]),
    tests("Screen", ["Screen"]),
    tests("HostFiles", ["HostFiles", "Errors"]),
    tests("Threads", ["Threads"]),
    tests(
      "Front",
      [
        "Front", "Screen", "Aggregator", "TraceFormat", "Architecture", "FrontSupport", "RandomSupport",
        "front-preview",
      ],
      exclude: ["Golden"]),
    .target(
      name: "FrontSupport", dependencies: ["Aggregator", "Architecture", "Front", "RandomSupport"],
      path: "Tests/Support/FrontSupport",
      swiftSettings: strict),
    .executableTarget(
      name: "front-preview", dependencies: ["Front", "FrontSupport", "Aggregator", "Architecture"],
      path: "Tests/Support/front-preview",
      swiftSettings: strict),
    tests("Report", ["Report", "Wording", "Aggregator", "Architecture"]),
    tests("Export", ["Export", "Wording", "Aggregator", "Recording", "TraceFormat", "Architecture"]),
    tests(
      "Session",
      [
        "Session", "Sampler", "Tracefs", "Aggregator", "Architecture", "Recording", "TraceFormat", "HostFiles",
        "CTinyGuest", "FakeKernel", "FakeVMM", "SnapshotSupport", "RandomSupport",
      ]),
    tests(
      "Command",
      [
        "Report", "VCPUState", "KVMHost", "Architecture", "Aggregator", "FakeKernel", "vmctop", "Recording",
        "TraceFormat", "HostFiles", "Errors", "CTinyGuest",
      ], exclude: ["Snapshots"]),
    // Helpers of the tests and benchmarks, in no product: a process that holds a trace instance, kernel memory made of
    // bytes, a VMM's monitor whose words are the test's, snapshots as text, random numbers that a seed repeats, a guest of a few
    // instructions, the processor's instruction counter.
    .executableTarget(
      name: "tracefs-holder", dependencies: ["Tracefs"], path: "Tests/Support/tracefs-holder", swiftSettings: strict),
    .target(
      name: "FakeKernel", dependencies: ["HostFiles"], path: "Tests/Support/FakeKernel", swiftSettings: strict),
    .target(name: "FakeVMM", path: "Tests/Support/FakeVMM", swiftSettings: strict),
    .target(
      name: "SnapshotSupport", dependencies: ["Aggregator"], path: "Tests/Support/SnapshotSupport",
      swiftSettings: strict),
    .target(
      name: "RandomSupport", path: "Tests/Support/RandomSupport", swiftSettings: strict),
    .target(name: "CTinyGuest", path: "Tests/Support/CTinyGuest"),
    .target(name: "CInstructionCount", path: "Tests/Support/CInstructionCount"),
  ]
)

// Built by `make fuzz` alone, with the flags that libFuzzer needs: every ordinary build would fail to link it.
if Context.environment["VMCTOP_FUZZ"] != nil {
  package.targets.append(
    .executableTarget(
      name: "vmctop-fuzz",
      dependencies: ["Aggregator", "Architecture", "Recording", "Report", "TraceFormat", "CDemo", "CRecording"],
      path: "Tests/Fuzz", swiftSettings: strict))
}
