import HostModel
import HostOS
import LimaConfiguration
import Templates

/// Makes instances. Each is made in a hidden directory beside the others and then renamed into place, so that an
/// instance exists completely or not at all.
package struct InstanceCreator: Sendable {
    private let home: LimaHome
    private let provider: any SourceFileProvider

    /// - Parameter provider: gets the images.
    package init(home: LimaHome, provider: any SourceFileProvider) {
        self.home = home
        self.provider = provider
    }

    /// Checks everything that `create` checks before it makes anything.
    /// - Returns: the addresses that `create` would download.
    /// - Throws: `HostError`, as `create` would.
    package func check(name: InstanceName, source: String, file: String) async throws -> [String] {
        try await prepared(name, source, file).preparation.check()
    }

    private func prepared(
        _ name: InstanceName, _ source: String, _ file: String
    ) throws -> (directory: InstanceDirectory, preparation: Preparation, warnings: [String]) {
        let directory = home.directory(of: name)
        try directory.checkSocketPaths()
        let resolved = try LimaYAML.resolve(
            home.layers(around: ConfigurationText(source, file: file)), for: name, host: .current)
        try refuseExisting(directory)
        let preparation = Preparation(resolved.configuration, provider: provider)
        return (directory, preparation, resolved.warnings)
    }

    /// - Parameters:
    ///   - source: the text of a `lima.yaml`.
    ///   - file: the name that messages use for it.
    ///   - report: is called while an image is downloaded.
    /// - Returns: sentences about keys that were ignored.
    /// - Throws: `HostError`. Nothing is left behind in that case.
    package func create(
        name: InstanceName, source: String, file: String, report: @escaping TransferProgress.Report
    ) async throws -> [String] {
        let (final, preparation, warnings) = try prepared(name, source, file)
        let temporary = InstanceDirectory(
            name: name, path: home.path + "/" + Leftovers.name(for: "creating", name))
        let homeExisted = Files.kind(home.path) != nil
        try attempt(home.path) { () throws(SystemCallError) in
            try Files.makeDirectory(home.path)
            try Files.makeDirectory(temporary.path)
        }
        do {
            try attempt(temporary.limaYAML) { () throws(SystemCallError) in
                try TextFile.replace(temporary.limaYAML, with: source)
            }
            try await preparation.make(in: temporary, report: report)
            do {
                try Files.moveIfAbsent(temporary.path, to: final.path)
            } catch {
                try refuseExisting(final)
                throw HostError(.cannotCreate, "cannot make \(final.path): \(error.reason)")
            }
        } catch {
            try? Files.remove(temporary.path)
            if !homeExisted { Files.removeEmptyDirectory(home.path) }
            throw error
        }
        return warnings
    }

    private func refuseExisting(_ directory: InstanceDirectory) throws(HostError) {
        guard Files.kind(directory.path) != nil else { return }
        throw HostError(
            .cannotCreate, "the instance \"\(directory.name)\" already exists",
            hint: "hostagent start \(directory.name) starts it; hostagent delete \(directory.name) removes it")
    }

    private func attempt(_ path: String, _ body: () throws(SystemCallError) -> Void) throws(HostError) {
        do {
            try body()
        } catch {
            throw HostError(
                .cannotCreate, "cannot make \(path): \(error.reason)",
                hint: error.isFull ? "make room on that disk" : "set LIMA_HOME to a directory you may write")
        }
    }
}

/// The embedded templates of `lima.yaml`.
package enum InstanceTemplate {
    /// Those that begin with an underscore are parts of others and are left out.
    package static var names: [String] { Templates.instances.keys.filter { !$0.hasPrefix("_") }.sorted() }

    /// The text of a template with the host's paths filled in; nil if there is no template of that name.
    package static func text(_ name: String, environment: [String: String]) -> String? {
        let home = environment["HOME"] ?? HostProcess.account?.home ?? "/"
        let data = (environment["XDG_DATA_HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? home + "/.local/share")
        let text = Templates.instances[name]?
            .replacing("@ARCHITECTURE@", with: Architecture.host.rawValue)
            .replacing("@DATA@", with: data + "/hostagent")
        // scripts/build-mini-guest names the directories so.
        return Architecture.allCases.reduce(text) { text, architecture in
            text?.replacing(
                "@MINI-\(architecture.rawValue)@",
                with: architecture == .host ? "mini" : "mini-\(architecture.rawValue)")
        }
    }
}
