import GuestAccess
import HostModel

/// The agent's access to one guest: its seed, keys, SSH port, channel and probes.
package protocol AccessPlan: Sendable {
    /// Creates the key pair and the guest's seed volume.
    func prepare() async throws

    /// Chooses the SSH port on 127.0.0.1 for this start.
    /// - Throws: `HostError` with `.unavailable` if the configured port is taken or no port is free.
    func choosePort() throws(HostError) -> Int

    /// Writes the ssh configuration that reaches the guest through this port.
    func writeSSHConfiguration(port: Int) throws(HostError)

    /// Writes the ssh configuration again if it was removed.
    /// - Returns: true if the file was missing and has been restored.
    func restoreSSHConfiguration() -> Bool

    /// - Returns: nil if the guest has no channel.
    /// - Throws: `HostError` if the connection fails.
    func openChannel() async throws -> (any ChannelToGuest)?

    /// Tries to log in until one login succeeds.
    func confirm() async throws

    /// Waits for the greeting of the guest's SSH server.
    func waitForGreeting() async throws

    /// Runs the readiness probes one after the other. Each is tried until it succeeds.
    /// - Throws: `HostError` with the probe's hint if a probe exceeds its time limit.
    func runProbes() async throws

    /// What is known about a start that took too long, worded as the end of an error message.
    var evidence: String { get }
}
