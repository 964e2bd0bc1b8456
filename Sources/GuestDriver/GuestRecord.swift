import Foundation
import HostModel
import HostOS

/// What is stored on disk (`guest.json`) to find a guest that outlived its agent. It is only a claim: see `Evidence`.
package struct GuestRecord: Codable, Sendable, Equatable {
    /// The name of the driver that made the guest.
    package var driver: String
    package var process: ProcessIdentity
    package var accelerator: Accelerator
    /// The port of 127.0.0.1 that leads to the guest's SSH server.
    package var sshLocalPort: Int
    /// The configuration the guest was started with: a digest for each key that takes effect only at a start. nil when
    /// it is unknown.
    package var configurationDigests: [String: String]?
    /// Helper processes that outlive the agent, as the guest does.
    package var helpers: [HelperRecord]?

    private enum CodingKeys: String, CodingKey {
        case driver, process, accelerator, sshLocalPort, helpers
        // As version 0.1 calls it: a guest that it started is attached to with what is known of it.
        case configurationDigests = "startedWith"
    }

    package init(
        driver: String, process: ProcessIdentity, accelerator: Accelerator, sshLocalPort: Int,
        configurationDigests: [String: String]?, helpers: [HelperRecord]? = nil
    ) {
        self.driver = driver
        self.process = process
        self.accelerator = accelerator
        self.sshLocalPort = sshLocalPort
        self.configurationDigests = configurationDigests
        self.helpers = helpers
    }

    /// - Returns: nil when there is no record or it cannot be read.
    package static func load(_ path: String) -> GuestRecord? {
        guard let bytes = try? TextFile.bytes(path, limit: 1 << 20) else { return nil }
        return try? JSONDecoder().decode(GuestRecord.self, from: Data(bytes))
    }

    /// - Throws: `HostError` with `.cannotCreate`.
    package func save(_ path: String) throws(HostError) {
        do {
            try TextFile.replace(path, with: Array(try JSONEncoder().encode(self)))
        } catch {
            throw HostError(.cannotCreate, "cannot write \(path): \(error)")
        }
    }
}

/// A helper process of a guest that outlives the agent, such as an SSH master or a file server. It is found and ended
/// by the same rules as the guest.
package struct HelperRecord: Codable, Sendable, Equatable {
    /// What the process is, for messages.
    package var name: String
    package var process: ProcessIdentity
    /// The name of a file in the instance's directory that the process keeps open as long as it lives.
    package var holds: String

    package init(name: String, process: ProcessIdentity, holds: String) {
        self.name = name
        self.process = process
        self.holds = holds
    }

    private func evidence(in directory: String) -> Evidence {
        Evidence(directory: directory, files: ["\(directory)/\(holds)"])
    }

    /// Whether it is alive and belongs to this instance.
    package func isAlive(in directory: String) -> Bool {
        process.isAlive && evidence(in: directory).proves(process)
    }

    /// Ends the process with SIGTERM, and kills it after `grace`. A process that is not proven to be this instance's is
    /// left alone.
    package func end(in directory: String, grace: Duration = .seconds(2)) async {
        guard evidence(in: directory).signal(process, 15) else { return }
        if await !process.ended(within: grace) { evidence(in: directory).signal(process, 9) }
    }
}
