import AgentAPI
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import ServiceManagers

/// One instance on its way.
struct ApplyWork: Sendable {
    let desired: DesiredInstance
    var owner: OwnerBoundary?
    /// The text of its `lima.yaml` afterwards.
    var text = ""
    var steps: [ApplyStep] = []
    var result: ApplyResult

    init(_ desired: DesiredInstance) {
        self.desired = desired
        result = ApplyResult(desired.name)
    }

    var next: ApplyStep? {
        result.failure == nil && result.steps.count < steps.count ? steps[result.steps.count] : nil
    }

    /// Carries out the steps that are left, until one fails.
    mutating func carryOut(until last: ApplyStep?, _ operation: ApplyOperation) async {
        while let step = next, step != last {
            do {
                try await operation.carryOut(step, self)
                result.steps.append(step)
            } catch {
                result.fail(error)
            }
        }
    }
}

extension ApplyOperation {
    /// Looks at the instance, and plans.
    func observe(_ work: inout ApplyWork) async throws {
        let desired = work.desired
        let directory = try context.home().directory(of: desired.name)
        var observation = ApplyObservation(life: .missing)
        if Files.kind(directory.path) != nil {
            let state = await InstanceSurvey(context: context).states([directory])[0]
            observation.life = Self.life(state)
            if observation.life == .stopped, desired.state == .stopped || desired.state == .absent,
                let registration = context.registration(of: directory), try await isUp(registration)
            {
                observation.life = .stopping
            }
            observation.isProtected = Files.kind(directory.protected) != nil
            if desired.state != .absent { try observeConfiguration(&observation, state, directory, &work) }
        }
        work.steps = try ApplyPlan.steps(to: desired, from: observation)
        if work.steps.contains(.create) { try await prepareCreation(&work) }
        if work.steps.contains(.delete), let text = try? EditedFile.read(directory) {
            work.result.difference = .init(before: text, after: "")
        }
        // A restart that the steps contain, and every later start, use the new values.
        let hasGuest = [.starting, .running, .orphaned].contains(observation.life)
        if hasGuest, !work.steps.contains(.restart), !work.steps.contains(.stop) {
            work.result.pendingRestart = observation.keysThatNeedRestart
        }
    }

    /// A manager starts an agent again some time after a failure. Nothing holds the instance meanwhile.
    func isUp(_ registration: FoundRegistration) async throws -> Bool {
        try await context.manager.status([registration]).first.map { !$0.isDown } ?? false
    }

    private static func life(_ state: InstanceSurvey.State) -> ApplyObservation.Life {
        switch state.status {
        case .running, .degraded: .running
        case .starting: .starting
        case .stopping: .stopping
        case .orphaned: .orphaned
        case .stopped, .failed, .broken: .stopped
        }
    }

    private func observeConfiguration(
        _ observation: inout ApplyObservation, _ state: InstanceSurvey.State, _ directory: InstanceDirectory,
        _ work: inout ApplyWork
    ) throws {
        let desired = work.desired
        if desired.configuration.isEmpty, desired.parameters.isEmpty {
            // A file with mistakes must not keep a guest from being stopped.
            guard [.present, .started].contains(desired.state), let instance = try? Instance(directory) else { return }
            if let info = state.info {
                observation.compare(instance.digests, with: info, isSame: true, version: version)
            }
            return
        }
        let old = ConfigurationText(try EditedFile.read(directory), file: directory.limaYAML)
        // The bases of an instance were merged into its file when it was made.
        let setting = try Self.setting(desired, in: old)
        let layers = try LimaHome(path: directory.home).layers(around: setting.text)
        let resolved = try LimaYAML.resolve(layers, for: desired.name, host: .current)
        let new = try Instance(directory, resolved).digests
        work.text = setting.text.text
        work.result.keys = setting.changedKeys
        observation.changedKeys = setting.changedKeys
        if !setting.changedKeys.isEmpty {
            work.result.difference = .init(before: old.text, after: work.text)
            work.result.warnings = resolved.warnings
            // A file that was broken before says nothing about what has changed.
            if let before = try? Instance(directory) {
                work.result.withoutEffect = new.changesOfCreation(since: before.digests).sorted()
                // With what a guest without an agent was started, only its next agent tells.
                let ofStart = new.changes(since: before.digests) { !$0.isLive && $0 != .creation }
                if observation.life == .orphaned { observation.keysThatNeedRestart = ofStart.sorted() }
            }
        }
        if let info = state.info {
            observation.compare(new, with: info, isSame: setting.changedKeys.isEmpty, version: version)
        }
    }

    private static func setting(
        _ desired: DesiredInstance, in text: ConfigurationText
    ) throws(HostError) -> LimaYAML.KeySetting {
        var values = desired.configuration.filter { $0.key != "base" }
        if !desired.parameters.isEmpty {
            let base = try LimaYAML.setting(values.filter { $0.key == "param" }, in: text).text
            values.removeAll { $0.key == "param" }
            values.append(try LimaYAML.parameters(desired.parameters, in: base))
        }
        return try LimaYAML.setting(values, in: text)
    }

    private func prepareCreation(_ work: inout ApplyWork) async throws {
        let desired = work.desired
        let bases = desired.configuration.filter { $0.key == "base" }
        let own = ConfigurationText("{}", file: "the configuration of \(desired.name)")
        let start = try await source(desired.template, LimaYAML.setting(bases, in: own).text)
        work.text = try Self.setting(desired, in: start).text.text
        let directory = try context.home().directory(of: desired.name)
        let layers = try LimaHome(path: directory.home).layers(around: ConfigurationText(work.text, file: own.file))
        work.result.warnings = try LimaYAML.resolve(layers, for: desired.name, host: .current).warnings
        _ = try await CreateOperation(context: context).plan(desired.name, work.text, own.file)
        work.result.difference = .init(before: "", after: work.text)
    }
}
