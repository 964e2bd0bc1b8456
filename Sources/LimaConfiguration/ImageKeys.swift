import HostModel

/// The keys of what the machine boots.
enum ImageKeys {
    /// One element of `images`.
    struct Candidate: Sendable {
        /// Nil if the image suits every architecture.
        var architecture: Architecture?
        var image: Configuration.Image
    }

    private static let location = Key(
        "location",
        Form.line.map("absolute path, `~/…` or `file://`") { text, value in path(text, value) }, .machine, .creation,
        .partial("files of this host"))
    private static let architecture = Key("arch", Form<Architecture>.word, standard: "every")
    private static let digest = Key(
        "digest",
        Form.line.map("`sha256:` or `sha512:` and digits") { text, value in digest(text, value) }, .machine, .creation)
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

    private static let candidate = Form<Candidate>.record(
        [
            location, architecture, digest, kernel, initrd,
            Key("variant", .unread("text"), nil, nil, .notYet), Key("archVariant", .unread("text"), nil, nil, .notYet),
        ], named: "images"
    ) { fields, value in
        let disk = sourceFile(fields, value)
        var directBoot = fields[kernel]
        directBoot?.initrd = fields[initrd]
        if fields.given(kernel) == nil { fields.given(initrd)?.fault("an initrd needs a kernel beside it") }
        let architecture = fields[architecture]
        // A wrong architecture is a fault. It does not mean every architecture.
        guard let disk, architecture != nil || fields.given(Self.architecture) == nil else { return nil }
        return Candidate(architecture: architecture, image: .init(disk: disk, directBoot: directBoot))
    }
    static let images = Key("images", list(of: candidate), .machine, .start)

    static let all: [any KeyDeclaration] = [images]

    private static func sourceFile(_ fields: Fields, _ value: ConfigurationValue) -> Configuration.SourceFile? {
        let digest = fields[digest]
        guard fields.given(location) != nil else {
            value.fault("location: missing; expected a path or file:// address")
            return nil
        }
        return fields[location].map { .init(path: $0, digest: digest) }
    }

    private static func path(_ text: String, _ value: ConfigurationValue) -> String? {
        let path: String
        if text.hasPrefix("file://") {
            path = String(text.dropFirst(7))
        } else if text.hasPrefix("~/") {
            path = value.reading.host.home + text.dropFirst(1)
        } else if text.contains("://") {
            value.fault("\(text) is to be downloaded, which hostagent does not do yet; expected a path or file://")
            return nil
        } else {
            path = text
        }
        guard path.hasPrefix("/"), !path.contains("\0") else {
            value.fault("expected an absolute path, found \(InstanceName.quoted(text))")
            return nil
        }
        return path
    }

    private static func digest(_ text: String, _ value: ConfigurationValue) -> Configuration.Digest? {
        let parts = text.split(separator: ":", maxSplits: 1)
        let lengths: [Configuration.Digest.Algorithm: Int] = [.sha256: 64, .sha512: 128]
        guard parts.count == 2, let algorithm = Configuration.Digest.Algorithm(rawValue: String(parts[0])),
            parts[1].count == lengths[algorithm], parts[1].allSatisfy(\.isHexDigit)
        else {
            value.fault(
                "expected sha256: and 64 hexadecimal digits, or sha512: and 128, found "
                    + InstanceName.quoted(text))
            return nil
        }
        return .init(algorithm: algorithm, hex: parts[1].lowercased())
    }
}

/// The keys of what the guest can reach of the host's disks and directories.
enum StorageKeys {
    static let all: [any KeyDeclaration] = [
        Key("additionalDisks", .unread("list of disks", .list([])), .machine, .start, .notYet),
        Key("mounts", .unread("list of mounts", .list([])), .guest, .start, .notYet),
        Key("mountType", .unread("reverse-sshfs, 9p or virtiofs"), .guest, .start, .notYet),
        Key("mountTypesUnsupported", .unread("list of text", .list([])), .guest, .start, .notYet, merging: .unique),
        Key("mountInotify", .unread("true or false"), .guest, .start, .notYet, standard: "`false`"),
    ]
}
