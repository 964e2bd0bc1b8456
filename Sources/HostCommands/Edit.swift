import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration
import ServiceManagers

struct Edit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Changes an instance's lima.yaml; a file with a mistake is never saved.")

    @OptionGroup var instance: InstanceArgument

    @Option(help: ArgumentHelp("Set one value without an editor; may be given several times.", valueName: "key=value"))
    var set: [String] = []

    @Flag(help: "Restart a running instance afterwards, without asking.")
    var restart = false

    func run() async throws {
        let context = OperationContext.current
        let directory = try context.directory(instance.name)
        if let owner = try OwnerBoundary(instance.name, context) {
            if set.isEmpty { throw owner.refuse("edit", "edit \(directory.name)") }
            let words = ["edit", directory.name.text] + (restart ? ["--restart"] : []) + set.flatMap { ["--set", $0] }
            StandardStreams.output(try await owner.perform(words))
            return
        }
        context.sweep(directory)
        let lock = try lock(directory)
        let failure: (any Error)?
        do {
            try await edit(directory, context)
            failure = nil
        } catch {
            failure = error
        }
        try? Files.remove(directory.editLock)
        lock.release()
        if let failure { throw failure }
    }

    /// Locks the file against other edits: of two at once, the second would overwrite the first.
    private func lock(_ directory: InstanceDirectory) throws(HostError) -> FileLock {
        do {
            if let lock = try FileLock.acquire(path: directory.editLock) { return lock }
        } catch {
            // The instance was deleted since it was found.
            if error.isMissing { try directory.requireExistence() }
            throw HostError(.notPermitted, "cannot edit \"\(directory.name)\": \(error)")
        }
        throw HostError(
            .held, "another command is editing the instance \"\(directory.name)\"", hint: "try again when it is done")
    }

    private func edit(_ directory: InstanceDirectory, _ context: OperationContext) async throws {
        let old: String
        do {
            old = try TextFile.read(directory.limaYAML)
        } catch {
            if error.isMissing { try directory.requireExistence() }
            throw HostError(.notPermitted, "cannot read \(directory.limaYAML): \(error.reason)")
        }
        let new = set.isEmpty ? try await edited(old, directory, context) : try changed(old)
        if new == old {
            StandardStreams.output("nothing was changed\n")
            return
        }
        let resolved: ResolvedConfiguration
        do {
            resolved = try LimaYAML.resolve(
                LimaHome(path: directory.home).layers(around: ConfigurationText(new, file: directory.limaYAML)),
                for: directory.name, host: .current)
        } catch {
            throw try keep(new, beside: directory, because: error)
        }
        do {
            try TextFile.replace(directory.limaYAML, with: new)
        } catch {
            throw HostError(.cannotCreate, "cannot write \(directory.limaYAML): \(error.reason)")
        }
        for warning in resolved.warnings { StandardStreams.error("hostagent: warning: \(warning)\n") }
        try await offerRestart(directory, context)
    }

    private func changed(_ old: String) throws(HostError) -> String {
        var text = old
        for assignment in set {
            guard let mark = assignment.firstIndex(of: "=") else {
                throw HostError(.usage, "--set takes KEY=VALUE, not \(InstanceName.quoted(assignment))")
            }
            text = try LimaYAML.setting(
                String(assignment[..<mark]), to: String(assignment[assignment.index(after: mark)...]), in: text)
        }
        return text
    }

    /// Keeps the typed text in a draft when it has a mistake.
    private func keep(_ text: String, beside directory: InstanceDirectory, because error: HostError) throws -> HostError
    {
        guard set.isEmpty else { return error }
        let draft = directory.limaYAML + ".rejected"
        try TextFile.replace(draft, with: text)
        return HostError(error.code, error.message, hint: "the old file is in force; what you typed is in \(draft)")
    }

    private func edited(_ old: String, _ directory: InstanceDirectory, _ context: OperationContext) async throws
        -> String
    {
        let named = ["VISUAL", "EDITOR"].lazy.compactMap { context.environment[$0] }.first { !$0.isEmpty }
        guard HostProcess.isTerminal(0) || named != nil else {
            throw HostError(
                .usage, "there is no terminal to edit in", hint: "hostagent edit --set KEY=VALUE \(directory.name)")
        }
        let draft = directory.path + "/" + Leftovers.draftName()
        defer { try? Files.remove(draft) }
        try TextFile.replace(draft, with: old)
        // As in git and crontab, the variable may hold arguments, so a shell splits it. The file is passed as one word.
        let status = try HostProcess.runInteractively("/bin/sh", ["-c", "\(named ?? "vi") \"$1\"", "sh", draft])
        guard status == 0 else {
            throw HostError(.failed, "the editor ended with status \(status); nothing was changed")
        }
        return try TextFile.read(draft)
    }

    private func offerRestart(_ directory: InstanceDirectory, _ context: OperationContext) async throws {
        guard try directory.isHeld() else {
            StandardStreams.output("saved; it counts from the next start\n")
            return
        }
        var wanted = restart
        if !wanted, HostProcess.isTerminal(0), HostProcess.isTerminal(2) {
            StandardStreams.error("\(directory.name) is running; restart it now? [y/N] ")
            wanted = StandardStreams.line().map { ["y", "yes"].contains($0.trimmed.lowercased()) } ?? false
        }
        guard wanted else {
            StandardStreams.output("saved; it counts from the next start: hostagent restart \(directory.name)\n")
            return
        }
        if let registration = context.registration(of: directory) {
            try await context.manager.requirePermission(toRestart: registration)
        }
        _ = try await StopOperation(context: context, directory: directory).run(force: false)
        try await StartCommand(context: context, directory: directory).run()
    }
}
