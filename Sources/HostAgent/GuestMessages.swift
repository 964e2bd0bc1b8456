import GuestAccess
import GuestDriver
import HostModel

extension Supervisor {
    /// Takes the messages of a guest as long as its channel is open.
    nonisolated func follow(_ channel: any ChannelToGuest) async {
        for await message in channel.messages {
            switch message {
            case .provisioning:
                forwarding.guestBoots()
                mounts.guestIsProvisioning()
                enqueue.yield(.input(.guestIsProvisioning))
            case .ready:
                // From now on it tells what it listens on.
                forwarding.ask(channel)
                mounts.guestIsReady()
                enqueue.yield(.input(.guestIsReady))
            case .log(let line): log.emit(.guestLog(line: line))
            case .provisioningFailed(let mode, let script, let status):
                enqueue.yield(.provisioningFailed(mode: mode, script: script, status: status))
            case .applied(let seed): parts.access.confirmSetUp(seed: seed)
            case .mount(let number, let report): mounts.take(report, about: number)
            case .changesTold(let number): mounts.guestWasTold(about: number)
            case .listeners(let report): forwarding.take(report)
            case .overflow: forwarding.ask(channel)
            case .dropped(let text):
                log.emit(.warning(text))
                forwarding.ask(channel)
            case .warning(let text): log.emit(.warning(text))
            }
        }
    }
}
