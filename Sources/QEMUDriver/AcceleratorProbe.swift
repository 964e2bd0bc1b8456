import Foundation
import HostModel
import HostOS

/// Finds out whether the host's hardware acceleration works, not only whether it is there: `/dev/kvm` can open,
/// create a machine and run it forty times too slowly. Asked once per boot of the host; the verdict is kept.
package struct AcceleratorProbe: Sendable {
    private let binary: String
    private let architecture: Architecture
    private let processor: String?
    private let cacheDirectory: String

    /// - Parameters:
    ///   - binary: the path of QEMU.
    ///   - processor: the guest's own `-cpu`, nil for the accelerator's default.
    ///   - cacheDirectories: where verdicts are kept: in the first of these that can be written.
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

    /// A verdict counts for one processor model, so each has a file.
    private var cacheFile: String {
        let model = (processor ?? "default").map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" }
        return "\(cacheDirectory)/accelerator-\(architecture.rawValue)-\(String(model.prefix(64))).json"
    }

    private func verdict(_ accelerator: Accelerator) -> Verdict {
        Verdict(
            bootID: ProcessIdentity.currentBootID, binary: "\(binary) \(Files.fingerprint(binary) ?? "")",
            processor: processor ?? "", accelerator: accelerator)
    }

    /// The accelerator to use, from the cache or by trying.
    package func accelerator() async -> Accelerator {
        guard architecture == .host, let candidate = HostProcess.hardwareAccelerator else { return .tcg }
        if let bytes = try? TextFile.bytes(cacheFile),
            let kept = try? JSONDecoder().decode(Verdict.self, from: Data(bytes)),
            kept == verdict(kept.accelerator)
        {
            return kept.accelerator
        }
        // A question that was cut off, or could not be put, is no verdict.
        guard let works = await works(candidate) else { return .tcg }
        keep(works ? candidate : .tcg)
        return works ? candidate : .tcg
    }

    /// Takes back a verdict: the accelerator stopped a guest by an internal error.
    package func revoke() { keep(.tcg) }

    private func keep(_ accelerator: Accelerator) {
        guard let data = try? JSONEncoder().encode(verdict(accelerator)) else { return }
        // A cache that cannot be written costs time at the next start, nothing else.
        try? Files.makeDirectory(cacheDirectory)
        try? TextFile.replace(cacheFile, with: Array(data))
    }

    /// A boot sector that ends QEMU through isa-debug-exit: `mov al,0x10; out 0xf4,al; hlt`, and the BIOS's signature.
    static let bootSector: [UInt8] =
        [0xb0, 0x10, 0xe6, 0xf4, 0xf4] + [UInt8](repeating: 0, count: 505) + [0x55, 0xaa]
    /// isa-debug-exit ends QEMU with the value written, doubled and one.
    static let bootSectorStatus: Int32 = 0x10 << 1 | 1
    /// Seconds of processor time: a working accelerator takes 0.1 for it, emulation too; a useless one several, inside
    /// the kernel. Not time on the clock, of which a host that is busy booting everything takes any amount.
    static let processorSeconds = 1
    /// What does not end within this, and did not compute either, is no verdict.
    static let limit = Duration.seconds(10)

    /// nil when it could not be tried.
    func works(_ accelerator: Accelerator) async -> Bool? {
        // Only x86 has the debug port; elsewhere what opens is believed.
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
                processor ?? QEMUMachine.defaultProcessor(accelerator), "-m", "32M", "-nodefaults", "-no-user-config",
                "-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive",
                "format=raw,if=ide,file=\(QEMUMachine.escape(image))",
            ])
        // Cancelling kills the probe.
        let result = try? await withTimeLimit(Self.limit) { try await tool.run() }
        return Task.isCancelled ? nil : (result ?? nil).map { $0.status == Self.bootSectorStatus }
    }
}
