import GuestAccess
import GuestDriver
import HostModel

/// The agent's access to one guest: its seed, keys, SSH port, channel and probes.
package protocol AccessPlan: Sendable {
    /// Creates the key pair and the guest's seed volume.
    func prepare() async throws

    /// What the guest is told when it boots. To be asked after `prepare()`.
    var bootNotice: BootNotice { get }

    /// The guest reports that it was set up with the seed of this identity.
    func confirmSetUp(seed: String)

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

    /// Forwards over a connection to the guest.
    var connections: any GuestConnections { get }

    /// Tries to log in until one login succeeds.
    func confirm() async throws

    /// Is called when the phase has changed.
    func follow(_ phase: Phase)

    /// The guest is about to return to an earlier state: connections to it end, and it is set up again at its next boot.
    func prepareForOtherState()

    /// Waits for the greeting of the guest's SSH server.
    func waitForGreeting() async throws

    /// Runs the readiness probes one after the other. Each is tried until it succeeds. Then the files are copied that the
    /// host gets of a guest that is ready.
    /// - Throws: `HostError` with the probe's hint if a probe exceeds its time limit.
    func runProbes() async throws

    /// What is known about a start that took too long, worded as the end of an error message.
    var evidence: String { get }
}
