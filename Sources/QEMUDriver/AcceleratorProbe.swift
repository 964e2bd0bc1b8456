import Foundation
import HostModel
import HostOS

/// Finds out whether the host's hardware acceleration works, not only whether it exists. `/dev/kvm` can open and create
/// a machine, and still run it forty times too slowly. It is tried once per boot of the host, and the verdict is kept.
package struct AcceleratorProbe: Sendable {
    private let binary: String
    private let architecture: Architecture
    private let processor: String?
    private let cacheDirectory: String

    /// - Parameters:
    ///   - binary: the path of QEMU.
    ///   - processor: the guest's own `-cpu`, nil for the accelerator's default.
    ///   - cacheDirectories: candidates for where verdicts are kept. The first that can be written is used.
    package init(binary: String, architecture: Architecture, processor: String?, cacheDirectories: [String]) {
        self.binary = binary
        self.architecture = architecture
        self.processor = processor
        cacheDirectory =
            cacheDirectories.first { path in
                try? Files.makeDirectory(path)
                return Files.isWritable(path)
            } ?? cacheDirectories.last ?? "/tmp"
    }

    private struct Verdict: Codable, Equatable {
        var bootID: String
        var binary: String
        var processor: String
        var accelerator: Accelerator
    }

    /// A verdict is valid for one processor model, so each model has a file.
    private var cacheFile: String {
        let model = (processor ?? "default").map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" }
        return "\(cacheDirectory)/accelerator-\(architecture.rawValue)-\(String(model.prefix(64))).json"
    }

    private func verdict(_ accelerator: Accelerator) -> Verdict {
        Verdict(
            bootID: ProcessIdentity.currentBootID, binary: "\(binary) \(Files.fingerprint(binary) ?? "")",
            processor: processor ?? "", accelerator: accelerator)
    }

    /// The accelerator to use: from the cache, or by trying it.
    package func accelerator() async -> Accelerator {
        guard architecture == .host, let candidate = HostProcess.hardwareAccelerator else { return .tcg }
        if let bytes = try? TextFile.bytes(cacheFile),
            let kept = try? JSONDecoder().decode(Verdict.self, from: Data(bytes)),
            kept == verdict(kept.accelerator)
        {
            return kept.accelerator
        }
        // A probe that was cancelled or could not run gives no verdict.
        guard let works = await works(candidate) else { return .tcg }
        keep(works ? candidate : .tcg)
        return works ? candidate : .tcg
    }

    /// Withdraws a verdict, because the accelerator stopped a guest with an internal error.
    package func withdrawVerdict() { keep(.tcg) }

    private func keep(_ accelerator: Accelerator) {
        guard let data = try? JSONEncoder().encode(verdict(accelerator)) else { return }
        // If the cache cannot be written, only the next start takes longer.
        try? Files.makeDirectory(cacheDirectory)
        try? TextFile.replace(cacheFile, with: Array(data))
    }

    /// A boot sector that ends QEMU through isa-debug-exit: `mov al,0x10; out 0xf4,al; hlt`, then the BIOS signature.
    static let bootSector: [UInt8] =
        [0xb0, 0x10, 0xe6, 0xf4, 0xf4] + [UInt8](repeating: 0, count: 505) + [0x55, 0xaa]
    /// isa-debug-exit ends QEMU with a status of twice the written value plus one.
    static let bootSectorStatus: Int32 = 0x10 << 1 | 1
    /// Seconds of processor time. A working accelerator needs 0.1, and so does emulation; a useless one spends several,
    /// inside the kernel. Wall-clock time would not do: a host that is busy booting everything can take any amount of
    /// it.
    static let processorSeconds = 1
    /// A probe that has not ended by then, without using its processor time either, gives no verdict.
    static let limit = Duration.seconds(10)

    /// Whether the accelerator works; nil when it could not be tried.
    func works(_ accelerator: Accelerator) async -> Bool? {
        // Only x86 has the debug port. On other architectures an accelerator that opens is trusted.
        guard architecture == .x86_64 else { return true }
        let image = "\(cacheDirectory)/probe-\(HostProcess.pid).img"
        try? Files.makeDirectory(cacheDirectory)
        guard (try? TextFile.replace(image, with: Self.bootSector)) != nil else { return nil }
        defer { try? Files.remove(image) }
        let tool = Tool(
            "/bin/sh",
            [
                "-c", #"ulimit -t "$1"; shift; exec "$@""#, "sh", String(Self.processorSeconds), binary,
                "-machine", "pc,accel=\(accelerator.rawValue)", "-cpu",
                processor ?? QEMUMachine.defaultProcessor(accelerator, architecture), "-m", "32M", "-nodefaults",
                "-no-user-config",
                "-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive",
                "format=raw,if=ide,file=\(QEMUMachine.escape(image))",
            ])
        // Cancelling kills the probe.
        let result = try? await withTimeLimit(Self.limit) { try await tool.run() }
        return Task.isCancelled ? nil : (result ?? nil).map { $0.status == Self.bootSectorStatus }
    }
}
