import HostModel

/// The keys of the host's directories that the guest has.
enum MountKeys {
    private static let no9P = "hostagent mounts directories by reverse-sshfs or virtiofs"

    private static let location = Key(
        "location",
        Form<String>.text.map("path of a directory, template of the host") { text, value -> String? in
            directory(HostPath.expanded(text, value), value)
        })
    private static let mountPoint = Key(
        "mountPoint",
        Form.guestTemplate.map("absolute path in the guest, template") { text, value -> String? in
            directory(text, value)
        }, standard: "the `location`")
    private static let writable = DefaultedKey("writable", .boolean, default: false)

    private static let cache = DefaultedKey("cache", .boolean, default: true)
    private static let followSymlinks = DefaultedKey("followSymlinks", .boolean, default: false)
    private static let sshfs = Key(
        "sshfs",
        Form<Mount.SSHFSOptions>.record(
            [
                cache, followSymlinks,
                Key(
                    "sftpDriver", Form<SFTPDriver>.word, nil, nil,
                    .noEffect("OpenSSH's sftp-server is used, confined to the directory")),
            ]
        ) { fields, _ in
            .init(caches: fields[cache], followsSymlinks: fields[followSymlinks])
        })

    private enum SFTPDriver: String, CaseIterable, Sendable {
        case builtin
        case openSSH = "openssh-sftp-server"
    }

    /// Virtqueues have sizes that are powers of two, up to 1024 in QEMU (VIRTQUEUE_MAX_SIZE).
    private static let queueSize = Key(
        "queueSize",
        Form<Int>.integer(in: 2...1024).map("power of two up to 1024") { size, value -> Int? in
            if size & (size - 1) != 0 {
                value.expected("a power of two up to 1024")
                return nil
            }
            return size
        }, standard: "`\(Mount.defaultQueueSize)`")
    private static let virtiofs = Key(
        "virtiofs", Form<Int>.record([queueSize]) { fields, _ in fields[queueSize] ?? Mount.defaultQueueSize })
    private static let ninePFS = Key("9p", Form.unread("mapping", .map), nil, nil, .noEffect(no9P))

    private static let mount = Form<Mount>.record(
        [location, mountPoint, writable, sshfs, virtiofs, ninePFS], named: "mounts"
    ) { fields, value in
        guard fields.given(location) != nil else {
            value.fault("location: missing; expected the path of a directory of the host")
            return nil
        }
        let (isWritable, sshfs, point) = (fields[writable], fields[sshfs], fields[mountPoint])
        let queueSize = fields[virtiofs]
        let isPointGiven = fields.given(mountPoint) != nil
        guard let location = fields[location], point != nil || !isPointGiven else { return nil }
        var mount = Mount(
            location: location, mountPoint: point ?? location, isWritable: isWritable, sshfs: sshfs ?? .init())
        mount.virtioFSQueueSize = queueSize
        if let obstacle = obstacle(to: mount.mountPoint) {
            value.fault("mountPoint: \(obstacle)")
            return nil
        }
        return mount
    }

    /// The directories that guests need for themselves. The first are Lima's.
    private static let reserved: Set<String> = [
        "/", "/bin", "/dev", "/etc", "/home", "/opt", "/sbin", "/tmp", "/usr", "/var",
        "/boot", "/lib", "/lib64", "/mnt", "/proc", "/root", "/run", "/sys", "/var/lib", "/var/lib/hostagent",
    ]

    private static func obstacle(to mountPoint: String) -> String? {
        guard mountPoint.hasPrefix("/"), !mountPoint.hasPrefix("{{") else {
            return "expected an absolute path; a mount from {{.Dir}} needs one"
        }
        if reserved.contains(mountPoint)
            || ["/dev/", "/proc/", "/sys/", "/run/hostagent"].contains(where: mountPoint.hasPrefix)
        {
            return "\(mountPoint) is a directory of the guest's own system"
        }
        return nil
    }

    /// The path without what means nothing in it.
    private static func directory(_ text: String, _ value: ConfigurationValue) -> String? {
        let parts = text.split(separator: "/")
        let isOwn = text == HostPath.directory || HostPath.isInDirectory(text)
        let isAbsolute = text.hasPrefix("/") && !text.contains(HostPath.directory)
        guard isAbsolute || isOwn, !parts.contains(".."), !parts.contains(".") else {
            value.expected("an absolute path of a directory, without `.` and `..`")
            return nil
        }
        guard text.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 }), parts.last?.last != " " else {
            value.expected("a path without control characters and without a space at its end")
            return nil
        }
        return (text.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
    }

    static let mounts = Key<[Mount]>(
        "mounts",
        Form<[Mount]>("list of mounts", shape: list(of: mount).shape) { value in
            var mounts: [Mount] = []
            for element in value.elements() {
                guard let found = mount.read(element) else { continue }
                if mounts.contains(where: { $0.mountPoint == found.mountPoint }) {
                    element.fault("two directories are to be mounted at \(found.mountPoint)")
                } else {
                    mounts.append(found)
                }
            }
            if mounts.count > Mount.maximumCount { value.fault("more than \(Mount.maximumCount) mounts") }
            // What is mounted within another mount comes after it.
            return mounts.sorted { $0.mountPoint < $1.mountPoint }
        }, .guest, .liveWherePossible, standard: "`[]`", merging: .combined(["mountPoint", "location"]))

    static let mountType = Key(
        "mountType",
        Form<MountType>.word.map { type, value -> MountType? in
            if !type.isSupported { value.warn("\(no9P), not by \(type.rawValue)") }
            return type
        }, .guest, .start, .partial("`9p` is taken for `reverse-sshfs`, with a warning; docs/mounts.md"),
        standard: "`reverse-sshfs`")

    static let mountInotify = DefaultedKey(
        "mountInotify", .boolean, default: false, .guest, .agentStart,
        .partial("where the guest may write, and not for instances of root; docs/mounts.md"))

    static let all: [any KeyDeclaration] = [
        mounts, mountType,
        Key(
            "mountTypesUnsupported", list(of: Form<MountType>.word), .guest, .start,
            .noEffect("hostagent mounts by reverse-sshfs unless `mountType` says otherwise"),
            merging: .unique),
        mountInotify,
    ]
}

extension Mount {
    /// The mount of an instance.
    /// - Parameter directory: the instance's.
    package func located(in directory: String) -> Mount {
        var mount = self
        mount.location = HostPath.expanded(location, in: directory)
        return mount
    }
}
