import HostModel

/// The keys of what the machine boots.
enum ImageKeys {
    /// One element of `images`.
    struct Candidate: Sendable {
        /// Nil if the image suits every architecture.
        var architecture: Architecture?
        /// The variant of the distribution and that of the architecture, as the template calls them.
        var variant: String
        var architectureVariant: String
        var image: Configuration.Image
    }

    private static let locationForm: Form<Configuration.SourceFile.Location> = Form.line.map(
        "web address, absolute path, `~/…` or `file://`", format: { "\($0)" }
    ) { text, value in place(text, value) }
    static let location = Key<Configuration.SourceFile.Location>("location", locationForm, .machine, .creation)
    private static let archiveLocation = Key("location", locationForm, .guest, .start)
    private static let architecture = Key("arch", MachineKeys.architecture, standard: "every")
    private static let digestForm: Form<Configuration.Digest> = Form.line.map("`sha256:` or `sha512:` and digits") {
        text, value -> Configuration.Digest? in
        if let digest = Configuration.Digest(text) { return digest }
        value.fault(
            "expected sha256: and 64 hexadecimal digits, or sha512: and 128, found " + InstanceName.quoted(text))
        return nil
    }
    static let digest = Key("digest", digestForm, .machine, .creation)
    private static let archiveDigest = Key("digest", digestForm, .guest, .start)
    private static let commandLine = DefaultedKey("cmdline", .line, default: "", .machine, .start)

    private static let kernel = Key(
        "kernel",
        .record([location, architecture, digest, commandLine]) { fields, value in
            sourceFile(fields, value).map {
                Configuration.DirectBoot(kernel: $0, commandLine: fields[commandLine])
            }
        }, standard: "booted from the disk")
    private static let initrd = Key(
        "initrd", .record([location, architecture, digest]) { fields, value in sourceFile(fields, value) })

    /// A file for guests of one architecture.
    struct Archive: Sendable {
        /// Nil if it suits every architecture.
        var architecture: Architecture?
        var file: Configuration.SourceFile
    }

    static let archive = Form<Archive>.record(
        [archiveLocation, architecture, archiveDigest], named: "archives"
    ) { fields, value in
        guard fields.given(archiveLocation) != nil else {
            value.fault("location: missing; expected a web address, a path or file://")
            return nil
        }
        let digest = fields[archiveDigest]
        let file = fields[archiveLocation].map { Configuration.SourceFile(location: $0, digest: digest) }
        let architecture = fields[architecture]
        guard let file, architecture != nil || fields.given(Self.architecture) == nil else { return nil }
        return Archive(architecture: architecture, file: file)
    }

    private static let variant = DefaultedKey("variant", .line, default: "")
    private static let architectureVariant = DefaultedKey("archVariant", .line, default: "")

    private static let candidate = Form<Candidate>.record(
        [location, architecture, digest, kernel, initrd, variant, architectureVariant], named: "images"
    ) { fields, value in
        let disk = sourceFile(fields, value)
        var directBoot = fields[kernel]
        directBoot?.initrd = fields[initrd]
        if fields.given(kernel) == nil { fields.given(initrd)?.fault("an initrd needs a kernel beside it") }
        let architecture = fields[architecture]
        // A wrong architecture is a fault. It does not mean every architecture.
        guard let disk, architecture != nil || fields.given(Self.architecture) == nil else { return nil }
        return Candidate(
            architecture: architecture, variant: fields[variant], architectureVariant: fields[architectureVariant],
            image: .init(disk: disk, directBoot: directBoot))
    }
    static let images = Key("images", list(of: candidate), .machine, .start)

    static let all: [any KeyDeclaration] = [images]

    private static func sourceFile(_ fields: Fields, _ value: ConfigurationValue) -> Configuration.SourceFile? {
        let digest = fields[digest]
        guard fields.given(location) != nil else {
            value.fault("location: missing; expected a web address, a path or file://")
            return nil
        }
        return fields[location].map { .init(location: $0, digest: digest) }
    }

    /// A path of this host, which may begin with the home directory.
    static let hostPath = Form.line.map("absolute path or `~/…`") { text, value -> String? in
        let path = text.hasPrefix("~/") ? value.reading.host.home + text.dropFirst(1) : text
        guard path.hasPrefix("/") else {
            value.expected("an absolute path")
            return nil
        }
        return path
    }

    private static func place(
        _ text: String, _ value: ConfigurationValue
    ) -> Configuration.SourceFile.Location? {
        let path: String
        if text.hasPrefix("https://") || text.hasPrefix("http://") {
            guard text.unicodeScalars.allSatisfy({ 33...126 ~= $0.value }),
                text.drop(while: { $0 != "/" }).dropFirst(2).first.map({ $0 != "/" }) ?? false
            else {
                value.fault("\(InstanceName.quoted(text)) is not a web address")
                return nil
            }
            return .address(text)
        }
        if text.hasPrefix("file://") {
            path = String(text.dropFirst(7))
        } else if text.hasPrefix("~/") {
            path = value.reading.host.home + text.dropFirst(1)
        } else if text.contains("://") {
            value.fault("\(text) cannot be downloaded; expected https://, http://, file:// or a path")
            return nil
        } else {
            path = text
        }
        guard path.hasPrefix("/"), !path.contains("\0") else {
            value.fault("expected an absolute path or a web address, found \(InstanceName.quoted(text))")
            return nil
        }
        return .file(path)
    }
}

/// The keys of what the guest can reach of the host's disks and directories.
enum StorageKeys {
    private static let diskName = Key(
        "name",
        Form.text.map("name") { text, value -> InstanceName? in
            do throws(HostError) {
                return try InstanceName(text)
            } catch {
                value.fault(error.message)
                return nil
            }
        })
    private static let format = DefaultedKey("format", .boolean, default: true)
    private static let fsType = DefaultedKey(
        "fsType",
        Form.line.map("file system, such as ext4") { text, value -> String? in
            guard !text.isEmpty, text.utf8.allSatisfy({ 48...57 ~= $0 || 97...122 ~= $0 }) else {
                value.expected("the name of a file system, such as ext4")
                return nil
            }
            return text
        }, default: "ext4")
    private static let fsArgs = Key(
        "fsArgs",
        list(
            of: Form.line.map("words") { text, value -> String? in
                guard !text.contains(" ") else {
                    value.expected("one argument of mkfs, without spaces")
                    return nil
                }
                return text
            }), standard: "`[]`")
    private static let diskRecord = Form<Configuration.AdditionalDisk>.record(
        [diskName, format, fsType, fsArgs], named: "disks"
    ) { fields, value in
        guard fields.given(diskName) != nil else {
            value.fault("name: missing; expected the name of a disk")
            return nil
        }
        return fields[diskName].map {
            .init(name: $0, isFormatted: fields[format], fileSystem: fields[fsType], arguments: fields[fsArgs] ?? [])
        }
    }
    /// A name alone stands for a disk with all defaults.
    private static let disk = Form<Configuration.AdditionalDisk>("disks", shape: diskRecord.shape) { value in
        guard case .scalar(let text, _) = value.node.content else { return diskRecord.read(value) }
        do throws(HostError) {
            return .init(name: try InstanceName(text), isFormatted: true, fileSystem: "ext4", arguments: [])
        } catch {
            value.fault(error.message)
            return nil
        }
    }
    static let additionalDisks = Key<[Configuration.AdditionalDisk]>(
        "additionalDisks", list(of: disk), .machine, .start, standard: "`[]`", merging: .combined(["name"]))

    static let all: [any KeyDeclaration] = [additionalDisks] + MountKeys.all
}
