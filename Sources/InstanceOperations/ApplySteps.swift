import AgentAPI
import Foundation
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration

extension ApplyOperation {
    func carryOut(_ step: ApplyStep, _ work: ApplyWork) async throws {
        if let owner = work.owner { return try await carryOut(step, work, by: owner) }
        let desired = work.desired
        let directory = try context.home().directory(of: desired.name)
        switch step {
        case .create:
            let file = "the configuration of \(desired.name)"
            _ = try await CreateOperation(context: context).run(desired.name, work.text, file)
        case .configure: try configure(directory, work)
        case .reload:
            let client = try AgentClient.ofRunning(directory)
            try await client.info().requireAgent(of: directory)
            _ = try await client.reload()
        case .restart:
            try await StopOperation(context: context, directory: directory).runBeforeStart(force: desired.force)
            try await start(directory, desired)
        case .start: try await start(directory, desired)
        case .stop: _ = try await StopOperation(context: context, directory: directory).run(force: desired.force)
        case .delete: _ = try await DeleteOperation(context: context, directory: directory).run(force: desired.force)
        }
    }

    private func start(_ directory: InstanceDirectory, _ desired: DesiredInstance) async throws {
        try directory.checkSocketPaths()
        context.sweep(directory)
        let operation = StartOperation(
            context: context, directory: directory, timeout: desired.timeout, waits: desired.waits)
        _ = try await operation.run()
    }

    private func configure(_ directory: InstanceDirectory, _ work: ApplyWork) throws {
        context.sweep(directory)
        let file = try EditedFile.open(directory)
        let result = Result {
            guard file.text == work.result.difference?.before else {
                throw HostError(
                    .held, "\(directory.limaYAML) was changed by another command just now", hint: "apply it again")
            }
            try file.save(work.text)
        }
        file.release()
        try result.get()
    }
}

extension ApplyOperation {
    /// A process of the owner looks at the instance and plans. Root carries out what needs the service manager.
    func prepare(_ work: inout ApplyWork, by owner: OwnerBoundary) async throws {
        work.owner = owner
        let desired = work.desired
        let document = try desired.document(state: desired.state, reach: desired.reach)
        let results = try await answer(of: owner, ["--dry-run"], document)
        work.result = results
        work.steps = results.steps
        work.result.steps = []
        // The machine's manager may be about to start a guest of which the owner only knows that it does not run.
        let isStop = desired.state == .stopped || desired.state == .absent && work.steps.contains(.delete)
        if isStop, !work.steps.contains(.stop), let registration = owner.machineRegistration(of: desired.name),
            try await isUp(registration)
        {
            work.steps.insert(.stop, at: work.steps.firstIndex(of: .delete) ?? work.steps.endIndex)
        }
    }

    private func answer(of owner: OwnerBoundary, _ words: [String], _ document: String) async throws -> ApplyResult {
        var output = ""
        do {
            output = try await owner.perform(["apply", "--json"] + words + ["-"], input: document) { output = $0 }
        } catch  where output.isEmpty {
            throw error
        } catch {
            // The failure is in the result.
        }
        let all = try JSONDecoder().decode([String: [ApplyResult]].self, from: Data(output.utf8))
        guard let result = all["instances"]?.first else {
            throw HostError(.failed, "apply as the owner gave no result")
        }
        return result
    }

    func carryOut(_ step: ApplyStep, _ work: ApplyWork, by owner: OwnerBoundary) async throws {
        let desired = work.desired
        switch step {
        case .create, .configure, .reload:
            // The owner's process does all of the file's steps at once; those that are done already change nothing.
            let reach: DesiredInstance.Reach = step == .reload ? .live : .none
            let result = try await answer(of: owner, [], desired.document(state: .present, reach: reach))
            if let failure = result.failure {
                throw HostError(
                    .failed, failure.message, hint: failure.hint, status: HostExitStatus(rawValue: failure.status))
            }
        case .restart:
            _ = try await owner.perform(["check", desired.name.text])
            _ = try await owner.stop(desired.name, force: desired.force)
            _ = try await owner.start(desired.name, timeout: desired.timeout)
        case .start: _ = try await owner.start(desired.name, timeout: desired.timeout)
        case .stop: _ = try await owner.stop(desired.name, force: desired.force)
        case .delete: _ = try await owner.delete(desired.name, force: desired.force)
        }
    }
}
