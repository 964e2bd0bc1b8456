import HostModel
import HostOS
import LimaConfiguration

/// The templates that this host has: files, those of the account, and those that are compiled in.
package struct TemplateStore: TemplateReader {
    private let home: LimaHome
    private let environment: [String: String]
    private let provider: any SourceFileProvider

    /// Lima's limit for one template, in bytes.
    private static let maximumSize = 4 << 20

    private let report: TransferProgress.Report

    /// - Parameters:
    ///   - provider: downloads templates.
    ///   - report: is called while one is downloaded.
    package init(
        home: LimaHome, environment: [String: String], provider: any SourceFileProvider,
        report: @escaping TransferProgress.Report = { _ in }
    ) {
        self.report = report
        self.home = home
        self.environment = environment
        self.provider = provider
    }

    /// Where templates with names are looked for, as in Lima: `LIMA_TEMPLATES_PATH`, or `_templates` in `$LIMA_HOME`.
    private var directories: [String] {
        if let paths = environment["LIMA_TEMPLATES_PATH"], !paths.isEmpty {
            return paths.split(separator: ":").map(String.init)
        }
        return [home.path + "/_templates"]
    }

    /// The names of all templates, sorted. Those that begin with an underscore are parts of others.
    package var names: [String] {
        var names = Set(InstanceTemplate.names)
        for directory in directories {
            let found = ((try? Files.names(in: directory)) ?? []).filter { $0.hasSuffix(".yaml") && !$0.hasPrefix("_") }
            names.formUnion(found.map { String($0.dropLast(".yaml".count)) })
        }
        return names.sorted()
    }

    package func text(of locator: Locator) async throws(HostError) -> ConfigurationText {
        switch locator {
        case .file(let path):
            guard let text = try TextFile.configuration(path) else {
                throw HostError(.unavailable, "there is no file \(InstanceName.quoted(path))")
            }
            return ConfigurationText(text, file: path)
        case .template(let name):
            for directory in directories {
                let path = "\(directory)/\(name).yaml"
                if let text = try TextFile.configuration(path) { return ConfigurationText(text, file: path) }
            }
            if let text = InstanceTemplate.text(name, environment: environment) {
                return ConfigurationText(text, file: locator.description)
            }
            throw HostError(
                .unavailable, "there is no template \(InstanceName.quoted(name))",
                hint: "hostagent's own are \(InstanceTemplate.names.joined(separator: ", ")); others are looked for in "
                    + directories.joined(separator: ", "))
        case .address(let address):
            return try await download(address, links: 5)
        case .standardInput:
            throw HostError(.usage, "standard input cannot be read twice")
        }
    }

    /// - Parameter links: how many links may be followed.
    private func download(_ address: String, links: Int) async throws(HostError) -> ConfigurationText {
        let file: ProvidedFile
        do {
            file = try await provider.provide(
                .init(location: .address(address), digest: nil), what: "template", limit: Self.maximumSize,
                report: report)
        } catch let error as HostError {
            throw error
        } catch {
            throw HostError(.failed, "the download of \(address) was given up: \(error)")
        }
        guard let text = try TextFile.configuration(file.path, as: address) else {
            throw HostError(.unavailable, "\(file.path) has gone; somebody emptied the cache", hint: "try again")
        }
        guard case .address(let target) = try Locator.address(address).target(ofLink: text) else {
            return ConfigurationText(text, file: address)
        }
        guard links > 0 else {
            throw HostError(.badConfiguration, "\(address) is one of many links that lead to each other")
        }
        return try await download(target, links: links - 1)
    }
}
