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

    @OptionGroup(title: "Changes without an editor") var flags: TemplateFlags

    @Flag(help: "Restart a running instance afterwards, without asking.")
    var restart = false

    func run() async throws {
        let context = OperationContext.current
        let directory = try context.directory(instance.name)
        if let owner = try OwnerBoundary(instance.name, context) {
            if flags.words.isEmpty { throw owner.refuse("edit", "edit \(directory.name)") }
            let words = ["edit", directory.name.text] + (restart ? ["--restart"] : []) + flags.words
            StandardStreams.output(try await owner.perform(words))
            return
        }
        context.sweep(directory)
        let file = try EditedFile.open(directory)
        let failure: (any Error)?
        do {
            try await edit(file, directory, context)
            failure = nil
        } catch {
            failure = error
        }
        file.release()
        if let failure { throw failure }
    }

    private func edit(
        _ file: borrowing EditedFile, _ directory: InstanceDirectory, _ context: OperationContext
    ) async throws {
        let old = file.text
        let new =
            flags.words.isEmpty
            ? try await edited(old, directory, context)
            : try flags.applied(to: ConfigurationText(old, file: directory.limaYAML)).text
        if new == old {
            StandardStreams.output("nothing was changed\n")
            return
        }
        let resolved: ResolvedConfiguration
        do {
            resolved = try resolve(new, directory)
            // A running guest's disk is checked by its next start.
            let isNewSize = (try? resolve(old, directory))?.configuration.disk != resolved.configuration.disk
            if isNewSize, try !directory.isHeld() {
                try InstanceDisk(directory)?.requireRoom(in: resolved.configuration.disk)
            }
        } catch {
            throw try keep(new, beside: directory, because: error)
        }
        try file.save(new)
        for warning in try resolved.warnings + overridden(old, directory) {
            StandardStreams.error("hostagent: warning: \(warning)\n")
        }
        // A file that was broken before says nothing about what has changed.
        let before = try? resolve(old, directory).digests
        try await report(resolved.digests, since: before ?? KeyDigests(), directory, context)
    }

    private func resolve(_ text: String, _ directory: InstanceDirectory) throws(HostError) -> ResolvedConfiguration {
        try LimaYAML.resolve(layers(text, directory), for: directory.name, host: .current)
    }

    private func layers(_ text: String, _ directory: InstanceDirectory) throws(HostError) -> ConfigurationLayers {
        try LimaHome(path: directory.home).layers(around: ConfigurationText(text, file: directory.limaYAML))
    }

    /// A sentence for each key that was set and does not count, because the file for all instances sets it, too.
    private func overridden(_ old: String, _ directory: InstanceDirectory) throws(HostError) -> [String] {
        let layers = try layers("", directory)
        var sentences: [String] = []
        for key in try flags.keys(in: ConfigurationText(old, file: directory.limaYAML)) {
            if let place = try LimaYAML.place(of: key, inOverrideOf: layers) {
                sentences.append("\(key) does not count: \(place) sets it for all instances")
            }
        }
        return sentences
    }

    /// Keeps the typed text in a draft when it has a mistake.
    private func keep(_ text: String, beside directory: InstanceDirectory, because error: HostError) throws -> HostError
    {
        guard flags.words.isEmpty else { return error }
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
        guard let text = try TextFile.strictText(draft) else {
            let kept = directory.limaYAML + ".rejected"
            try Files.move(draft, to: kept)
            throw HostError(
                .badConfiguration, "what you typed is not UTF-8 text",
                hint: "the old file is in force; what you typed is in \(kept)")
        }
        return text
    }

    /// Says from when the change counts, and offers a restart if it needs one.
    private func report(
        _ new: KeyDigests, since old: KeyDigests, _ directory: InstanceDirectory, _ context: OperationContext
    ) async throws {
        let useless = new.changesOfCreation(since: old).sorted()
        if !useless.isEmpty {
            StandardStreams.error(
                "hostagent: warning: without effect on an existing instance: \(useless.joined(separator: ", "))\n")
        }
        guard useless.isEmpty || !new.changes(since: old, where: { $0 != .creation }).isEmpty else {
            StandardStreams.output("saved\n")
            return
        }
        guard try directory.isHeld() else {
            StandardStreams.output("saved; it counts from the next start\n")
            return
        }
        let needsStart = !new.changes(since: old, where: { !$0.isLive && $0 != .creation }).isEmpty
        var wanted = restart
        if !wanted, needsStart, context.mayAsk, HostProcess.isTerminal(0), HostProcess.isTerminal(2) {
            StandardStreams.error("\(directory.name) is running; restart it now? [y/N] ")
            wanted = StandardStreams.line().map { ["y", "yes"].contains($0.trimmed.lowercased()) } ?? false
        }
        guard wanted else {
            let command = needsStart ? "restart" : "reload"
            let moment = needsStart ? "from the next start" : "after a reload"
            StandardStreams.output("saved; it counts \(moment): hostagent \(command) \(directory.name)\n")
            return
        }
        try await StopOperation(context: context, directory: directory).runBeforeStart(force: false)
        try await StartCommand(context: context, directory: directory).run()
    }
}
