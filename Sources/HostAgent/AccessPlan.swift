import GuestAccess
import HostModel

/// Everything between the agent and the inside of one guest: its seed, its keys, its port, its channel, its probes.
package protocol AccessPlan: Sendable {
    /// Makes the key pair and the guest's seed volume.
    func prepare() async throws

    /// The port of 127.0.0.1 for this start.
    /// - Throws: `HostError` with `.unavailable` when the configured one is taken.
    func choosePort() throws(HostError) -> Int

    /// Writes how ssh reaches the guest by this port.
    func writeSSHConfiguration(port: Int) throws(HostError)

    /// Writes it again where somebody removed it.
    /// - Returns: it was gone, and is there again.
    func restoreSSHConfiguration() -> Bool

    /// - Returns: nil for a guest that has no channel.
    /// - Throws: `HostError` when it cannot be connected to.
    func openChannel() async throws -> (any ChannelToGuest)?

    /// Logs in once; tries until that works.
    func confirm() async throws

    /// Waits until the guest's SSH server greets.
    func waitForGreeting() async throws

    /// Runs the readiness probes one after the other; each is tried until it succeeds.
    /// - Throws: `HostError` with the probe's hint when one does not within its time.
    func runProbes() async throws

    /// What is known when a start took too long, as the end of an error.
    var evidence: String { get }
}
