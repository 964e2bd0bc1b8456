/// Texts that are part of the program: unit files, instance templates and the scripts that run in guests. They are
/// edited as ordinary files in this folder and compiled in, so that the program is a single file.
package enum Templates {
    /// The `lima.yaml` templates that `create` knows by name.
    package static let instances: [String: String] = [
        "mini": text(PackageResources.mini_yaml),
        "debian": text(PackageResources.debian_yaml),
    ]

    /// The guest's end of the guest channel, a POSIX sh script.
    package static let guestChannel = text(PackageResources.channel_sh)
    /// The POSIX sh script that a guest runs at every boot.
    package static let guestBoot = text(PackageResources.boot_sh)
    /// The systemd unit of an instance, with `@NAME@` placeholders.
    package static let systemdUnit = text(PackageResources.lima_vm_INSTANCE_service)

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}
