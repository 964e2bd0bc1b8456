/// Texts that are part of the program: unit files, instance templates and what runs inside guests. They are edited as
/// ordinary files in this folder and compiled in, so that the program is one file.
package enum Templates {
    /// The `lima.yaml`s that `create` knows by name.
    package static let instances: [String: String] = [
        "mini": text(PackageResources.mini_yaml),
        "debian": text(PackageResources.debian_yaml),
    ]

    /// The guest's end of the guest channel, POSIX sh.
    package static let guestChannel = text(PackageResources.channel_sh)
    /// What a guest runs at every boot, POSIX sh.
    package static let guestBoot = text(PackageResources.boot_sh)
    /// The systemd unit of an instance, with `@NAME@` marks.
    package static let systemdUnit = text(PackageResources.lima_vm_INSTANCE_service)

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}
