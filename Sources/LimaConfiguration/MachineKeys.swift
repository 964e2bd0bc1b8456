import HostModel

/// The keys of the machine itself.
enum MachineKeys {
    /// `create` merges the bases into the instance's file, which then has none.
    private static let base = Key(
        "base",
        Form<Void>("locator or list of locators") { value in
            value.fault("only a template can have bases: create merges them into the instance's file")
        }, .machine, .creation)
    /// The version of Lima that this program is compatible with.
    static let limaVersion = "2.2.0"
    private static let minimumLimaVersion = Key(
        "minimumLimaVersion",
        version.map("version") { text, value in
            if Version.isNewer(text, than: limaVersion) {
                value.fault("Lima \(text) is needed; this program is compatible with Lima \(limaVersion)")
            }
        }, .machine, .start, merging: .newest)

    static let version = Form.line.map("version") { text, value -> String? in
        if Version.numbers(text) != nil { return text }
        value.expected("a version such as 2.2.0")
        return nil
    }

    /// The sentence with which a start is refused; nil if this host can run the guest.
    static let vmType = Key<String?>(
        "vmType",
        Form.text.map("qemu, vz, wsl2, krunkit or ext") { text, value -> String?? in
            if text == "qemu" { return .some(nil) }
            guard ["vz", "wsl2", "ext", "krunkit"].contains(text) else {
                value.fault("\"\(text)\" is not known; expected qemu, vz, wsl2, krunkit or ext")
                return nil
            }
            return .some("vmType: \(text): hostagent has no driver for it, only for qemu")
        }, .machine, .creation, .partial("`qemu`; the others are understood, and refused at start"), standard: "`qemu`")

    static let os = Key<String?>(
        "os",
        Form.text.map("Linux, Darwin, FreeBSD or Windows") { text, value -> String?? in
            if text == "Linux" { return .some(nil) }
            guard ["Darwin", "FreeBSD", "Windows"].contains(text) else {
                value.fault("\"\(text)\" is not known; expected Linux, Darwin, FreeBSD or Windows")
                return nil
            }
            return .some("os: \(text): hostagent runs Linux guests only")
        }, .machine, .creation, .partial("`Linux`; the others are understood, and refused at start"),
        standard: "`Linux`")

    static let tpm = DefaultedKey(
        "tpm", .boolean, default: false, .machine, .start, .partial("`true` is refused at start"))

    static let architecture = Form.text.map(
        Architecture.allCases.map(\.rawValue).joined(separator: ", ")
    ) { text, value -> Architecture? in
        if text == "default" { return value.reading.host.architecture }
        if let architecture = Architecture(rawValue: text) { return architecture }
        value.expected("default or one of " + Architecture.allCases.map(\.rawValue).joined(separator: ", "))
        return nil
    }
    static let arch = Key(
        "arch", architecture, .machine, .start,
        .partial("`x86_64` and `aarch64`; the others are understood, and refused at start"), standard: "the host's")
    // Lima's defaults: 4 processors, 4 GiB, 100 GiB.
    static let cpus = DefaultedKey("cpus", .integer(in: 1...255), default: 4, .machine, .start)
    static let memory = DefaultedKey("memory", .size(in: 32 << 20...16 << 40), default: 4 << 30, .machine, .start)
    static let disk = DefaultedKey("disk", .size(in: 1 << 20...64 << 40), default: 100 << 30, .machine, .start)

    /// Processors by architecture. Those of architectures that this program does not know are left out.
    private static let processors = entries(of: .line).map("mapping of architectures to processors") {
        (pairs, _) -> [Architecture: String]? in
        var processors: [Architecture: String] = [:]
        for (key, processor) in pairs { Architecture(rawValue: key).map { processors[$0] = processor } }
        return processors
    }
    static let cpuType = Key("cpuType", processors, .machine, .start, standard: "what the accelerator does best")

    private static let qemuProcessors = Key("cpuType", processors, standard: "what the accelerator does best")
    private static let minimumQEMU = Key("minimumVersion", version, merging: .newest)

    struct GivenQEMU: Sendable {
        var minimumVersion: String?
        var processors: [Architecture: String]?
    }

    private static let qemu = Key<GivenQEMU>(
        "qemu",
        .record([minimumQEMU, qemuProcessors]) { fields, _ in
            GivenQEMU(minimumVersion: fields[minimumQEMU], processors: fields[qemuProcessors])
        })
    static let vmOpts = Key(
        "vmOpts",
        .record([
            qemu, Key("vz", .unread("mapping", .map), nil, nil, .noEffect("it configures another driver")),
            Key("wsl2", .unread("mapping", .map), nil, nil, .noEffect("it configures another driver")),
            Key("krunkit", .unread("mapping", .map), nil, nil, .noEffect("it configures another driver")),
        ]) { fields, _ in fields[qemu] }, .machine, .start)

    private static let legacyBIOS = DefaultedKey("legacyBIOS", .boolean, default: false)
    static let firmware = Key(
        "firmware",
        .record([
            legacyBIOS,
            Key(
                "images", .unread("list of files", .list([])), nil, nil,
                .noEffect("guests boot with the firmware of this host's packages")),
        ]) { fields, _ in
            fields[legacyBIOS]
        }, .machine, .start)

    /// A key that has no effect, whatever its value.
    private static func without(_ name: String, _ form: Form<Void>, _ reason: String) -> Key<Void> {
        Key(name, form, .machine, .start, .noEffect(reason))
    }

    static let all: [any KeyDeclaration] = [
        base, minimumLimaVersion, vmType, vmOpts, os, arch, cpuType, cpus, memory, disk, firmware,
        without("audio", .unread("mapping", .map), "guests have no sound card"),
        without("video", .unread("mapping", .map), "guests have no display"),
        without("rosetta", .unread("mapping", .map), "Rosetta is part of macOS and its own virtual machines"),
        without("nestedVirtualization", .unread("true or false"), "QEMU gives a guest what the host's processor has"),
        tpm,
        without("osOpts", .unread("mapping", .map), "it configures guests that are not Linux"),
    ]
}
