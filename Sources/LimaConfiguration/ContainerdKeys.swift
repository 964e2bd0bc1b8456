import HostModel

/// The keys of containerd, which is installed in the guest from an archive with its programs.
enum ContainerdKeys {
    struct Given: Sendable {
        var system = false
        var user = false
        var archives: [ImageKeys.Archive] = []
    }

    // Lima's defaults for guests of x86_64 and aarch64.
    private static let system = DefaultedKey("system", .boolean, default: false)
    private static let user = DefaultedKey("user", .boolean, default: true)
    private static let archives = Key("archives", list(of: ImageKeys.archive))

    static let containerd = Key<Given>(
        "containerd",
        .record([system, user, archives]) { fields, _ in
            Given(system: fields[system], user: fields[user], archives: fields[archives] ?? [])
        }, .guest, .start,
        .partial("from `archives`; hostagent knows none itself, so nothing is installed without it"))

    /// What is to be installed in a guest of this architecture.
    static func resolved(_ fields: Fields, _ architecture: Architecture, plain: Bool) -> Configuration.Containerd? {
        guard let given = fields[containerd], given.system || given.user, !plain else { return nil }
        guard let archive = given.archives.first(where: { $0.architecture == nil || $0.architecture == architecture })
        else {
            fields.given(containerd)?.warn("has no effect: archives has none for \(architecture.rawValue)")
            return nil
        }
        return Configuration.Containerd(archive: archive.file, system: given.system, user: given.user)
    }
}
