import HostModel

/// The keys of the machine itself.
enum MachineKeys {
    /// `create` merges the bases into the instance's file, which then has none.
    private static let base = Key(
        "base",
        Form<Void>("locator or list of locators") { value in
            value.fault("only a template can have bases: create merges them into the instance's file")
        }, .machine, .creation)
    static let vmType = Key(
        "vmType",
        Form.text.map("qemu, vz, wsl2, krunkit or ext") { text, value in
            guard text != "qemu" else { return }
            let isKnown = ["vz", "wsl2", "ext", "krunkit"].contains(text)
            value.fault("\"\(text)\" \(isKnown ? "is not supported here" : "is not known"); expected qemu")
        }, .machine, .creation, .partial("`qemu` only"), standard: "`qemu`")

    static let arch = Key("arch", Form<Architecture>.word, .machine, .start, standard: "the host's")
    // Lima's defaults: 4 processors, 4 GiB, 100 GiB.
    static let cpus = DefaultedKey("cpus", .integer(in: 1...255), default: 4, .machine, .start)
    static let memory = DefaultedKey("memory", .size(in: 32 << 20...16 << 40), default: 4 << 30, .machine, .start)
    static let disk = DefaultedKey("disk", .size(in: 1 << 20...64 << 40), default: 100 << 30, .machine, .creation)

    /// Processors by architecture. Those of architectures that this program does not know are left out.
    private static let processors = entries(of: .line).map("mapping of architectures to processors") {
        (pairs, _) -> [Architecture: String]? in
        var processors: [Architecture: String] = [:]
        for (key, processor) in pairs { Architecture(rawValue: key).map { processors[$0] = processor } }
        return processors
    }
    static let cpuType = Key("cpuType", processors, .machine, .start, standard: "what the accelerator does best")

    private static let qemuProcessors = Key("cpuType", processors, standard: "what the accelerator does best")
    private static let qemu = Key(
        "qemu",
        .record([Key("minimumVersion", .unread("version"), nil, nil, .notYet, merging: .newest), qemuProcessors]) {
            fields, _ in
            fields[qemuProcessors]
        })
    static let vmOpts = Key(
        "vmOpts",
        .record([
            qemu, Key("vz", .unread("mapping", .map), nil, nil, .noEffect("it configures another driver")),
            Key("wsl2", .unread("mapping", .map), nil, nil, .noEffect("it configures another driver")),
        ]) { fields, _ in fields[qemu] }, .machine, .start)

    private static let legacyBIOS = DefaultedKey("legacyBIOS", .boolean, default: false)
    static let firmware = Key(
        "firmware",
        .record([legacyBIOS, Key("images", .unread("list of files", .list([])), nil, nil, .notYet)]) { fields, _ in
            fields[legacyBIOS]
        }, .machine, .start)

    static let all: [any KeyDeclaration] = [
        base,
        Key("minimumLimaVersion", .unread("version"), .machine, .start, .notYet, merging: .newest),
        vmType, vmOpts,
        Key("os", .unread("Linux, Darwin, FreeBSD or Windows"), .machine, .creation, .notYet, standard: "`Linux`"),
        arch, cpuType, cpus, memory, disk, firmware,
        Key("audio", .unread("mapping", .map), .machine, .start, .notYet),
        Key("video", .unread("mapping", .map), .machine, .start, .notYet),
        Key("rosetta", .unread("mapping", .map), .machine, .start, .notYet),
        Key("nestedVirtualization", .unread("true or false"), .machine, .start, .notYet, standard: "`false`"),
        Key("tpm", .unread("true or false"), .machine, .start, .notYet, standard: "`false`"),
        Key("osOpts", .unread("mapping", .map), .machine, .start, .notYet),
    ]
}
