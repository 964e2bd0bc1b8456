import GuestAccess
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration

extension GuestSeed {
    /// The seed of an instance's guest.
    /// - Parameter environment: the variables of this process, some of which name proxies.
    /// - Throws: `HostError` if a file with certificates cannot be read.
    init(
        _ instance: Instance, authorizedKeys: [String], scriptVariables: [(name: String, value: String)],
        network: Network, environment host: [String: String]
    ) throws(HostError) {
        let configuration = instance.configuration
        self.init(
            instance: instance.name, user: configuration.user, authorizedKeys: authorizedKeys, network: network,
            plain: configuration.plain)
        let proxies = configuration.propagatesProxies ? GuestProxies.variables(of: host, gateway: network.gateway) : []
        let own = configuration.environment.map { (name: $0.name, value: $0.value) }
        // What lima.yaml says counts more than what the host has.
        environment = proxies.filter { proxy in !own.contains { $0.name == proxy.name } } + own
        self.scriptVariables = scriptVariables
        scripts = configuration.provisioning.map { ($0.mode.rawValue, $0.script) }
        dataFiles = configuration.dataFiles.map {
            DataFile(
                path: $0.path, content: $0.content, attributes: Attributes($0.attributes), overwrites: $0.overwrites)
        }
        documentEdits = configuration.documentEdits.map {
            DocumentEdit(
                path: $0.path, expression: $0.expression, format: $0.format, attributes: Attributes($0.attributes))
        }
        disks = configuration.additionalDisks.enumerated().filter(\.element.isFormatted).map { index, disk in
            Disk(
                serial: AdditionalDiskSerial.text(index), name: disk.name.text, fileSystem: disk.fileSystem,
                arguments: disk.arguments)
        }
        mounts = configuration.mounts
        if let type = configuration.mountType, type.isSupported { mountType = type }
        hosts = configuration.hosts.map { ($0.name, $0.target) }
        timeZone = configuration.timeZone ?? HostClock.timeZone ?? ""
        upgradesPackages = configuration.upgradesPackages
        diskSize = configuration.disk
        cloneIdentity = instance.settings.cloneIdentity
        containerd = configuration.containerd.map {
            Containerd(
                system: $0.system, user: $0.user,
                version: "\($0.archive.location)" + ($0.archive.digest.map { " \($0)" } ?? ""))
        }
        authorities = try Authorities(configuration.authorities)
    }
}

extension GuestSeed.Attributes {
    fileprivate init(_ attributes: Configuration.FileAttributes) {
        self.init(owner: attributes.owner, permissions: attributes.permissions)
    }
}

extension GuestSeed.Authorities {
    fileprivate init(_ authorities: Configuration.Authorities) throws(HostError) {
        var certificates = authorities.certificates
        for file in authorities.files {
            guard let text = try TextFile.configuration(file) else {
                throw HostError(
                    .unavailable, "caCerts.files: there is no file \(file)", hint: "correct caCerts.files in lima.yaml")
            }
            certificates.append(text)
        }
        self.init(removesDefaults: authorities.removesDefaults, certificates: certificates)
    }
}

/// The host's proxies as its guests reach them.
enum GuestProxies {
    private static let names = ["ftp_proxy", "http_proxy", "https_proxy", "no_proxy"]

    /// Each variable in lower and upper case, as Lima sets them. A proxy on the host's loopback interface is reached
    /// through the gateway.
    static func variables(of host: [String: String], gateway: String) -> [(name: String, value: String)] {
        names.flatMap { name -> [(name: String, value: String)] in
            let upper = name.uppercased()
            guard let value = [name, upper].lazy.compactMap({ host[$0] }).first(where: { !$0.isEmpty }),
                value.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 })
            else { return [] }
            let reachable = name == "no_proxy" ? value : throughGateway(value, gateway)
            return [(name, reachable), (upper, reachable)]
        }
    }

    private static func throughGateway(_ proxy: String, _ gateway: String) -> String {
        proxy.replacing(/(^|\/\/|@)(localhost|127\.[0-9]+\.[0-9]+\.[0-9]+|\[::1\])(?=[:\/]|$)/) { match in
            match.output.1 + gateway
        }
    }
}
