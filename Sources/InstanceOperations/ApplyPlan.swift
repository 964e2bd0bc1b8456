import AgentAPI
import HostModel
import LimaConfiguration

/// One step on the way from how an instance is to how it shall be.
package enum ApplyStep: String, Codable, Sendable {
    case create, configure, reload, start, restart, stop, delete
}

/// What is known about an instance before anything is done. The steps follow from it and from what is desired, and from
/// nothing else, so a dry run and the run after it have the same steps.
package struct ApplyObservation: Sendable, Equatable {
    package enum Life: Sendable, Equatable, CaseIterable {
        /// There is no such instance.
        case missing
        /// Neither an agent nor a guest runs.
        case stopped
        /// An agent is starting the guest.
        case starting
        /// An agent is stopping the guest, or a manager is about to start it again.
        case stopping
        case running
        /// The guest runs without an agent.
        case orphaned
    }

    package var life: Life
    package var isProtected = false
    /// The keys of `lima.yaml` whose values are not the desired ones.
    package var changedKeys: [String] = []
    /// The agent uses the configuration that the files then have.
    package var isLoaded = true
    /// The keys whose values then differ from those that the guest was started with.
    package var keysThatNeedRestart: [String] = []

    package init(life: Life) { self.life = life }

    /// Compares the configuration that the files then have with that of the agent and its guest.
    /// - Parameters:
    ///   - isSame: whether the files stay as they are.
    ///   - version: that of this program. Another one may know other keys, so its digest of all of them says nothing.
    package mutating func compare(_ new: KeyDigests, with info: AgentInfo, isSame: Bool, version: String) {
        if let inUse = info.configuration, info.version == version {
            isLoaded = inUse.loaded == new.combined
        } else {
            isLoaded = isSame
        }
        if let started = info.configuration?.startedWith {
            keysThatNeedRestart = new.changes(sinceStart: started).sorted()
        } else {
            keysThatNeedRestart = (info.pending ?? []).filter { $0.until == .restart }.map(\.key)
        }
    }
}

package enum ApplyPlan {
    /// - Throws: `HostError` if the desired state cannot be reached.
    package static func steps(
        to desired: DesiredInstance, from observation: ApplyObservation
    ) throws(HostError) -> [ApplyStep] {
        if observation.life == .missing { return try steps(toMake: desired) }
        let stop: [ApplyStep] = observation.life == .stopped ? [] : [.stop]
        if desired.state == .absent {
            guard !observation.isProtected else { throw ProtectOperation.refusal(desired.name) }
            return stop + [.delete]
        }
        let configure: [ApplyStep] = observation.changedKeys.isEmpty ? [] : [.configure]
        switch desired.state {
        case .absent, .stopped: return configure + stop
        case .restarted: return configure + [observation.life == .stopped ? .start : .restart]
        case .started, .present:
            let hasGuest = [.starting, .running, .orphaned].contains(observation.life)
            if hasGuest, desired.reach == .restart, !observation.keysThatNeedRestart.isEmpty {
                return configure + [.restart]
            }
            let hasAgent = [.starting, .running].contains(observation.life)
            let reload: [ApplyStep] = hasAgent && desired.reach != .none && !observation.isLoaded ? [.reload] : []
            return configure + start(desired, observation.life) + reload
        }
    }

    /// The start of a guest that does not run yet. One that is being started is waited for.
    private static func start(_ desired: DesiredInstance, _ life: ApplyObservation.Life) -> [ApplyStep] {
        guard desired.state == .started else { return [] }
        switch life {
        case .running: return []
        case .starting: return desired.waits ? [.start] : []
        case .missing, .stopped, .stopping, .orphaned: return [.start]
        }
    }

    private static func steps(toMake desired: DesiredInstance) throws(HostError) -> [ApplyStep] {
        if desired.state == .absent { return [] }
        guard desired.template != nil || !desired.configuration.isEmpty else {
            throw HostError(
                .noSuchInstance, "there is no instance \"\(desired.name)\", and nothing says what to make it from",
                hint: "give a template or a config")
        }
        let starts = desired.state == .started || desired.state == .restarted
        return [.create] + (starts ? [.start] : [])
    }
}
