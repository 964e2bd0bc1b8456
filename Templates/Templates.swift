/// Texts that are part of the program: unit files, instance templates and the scripts that run in guests. They are
/// edited as ordinary files in this folder and compiled in, so that the program is a single file.
package enum Templates {
    /// The `lima.yaml` templates that `create` knows by name.
    package static let instances: [String: String] = [
        "alpine": text(PackageResources.alpine_yaml),
        "debian-local": text(PackageResources.debian_local_yaml),
        "debian": text(PackageResources.debian_yaml),
        "default": text(PackageResources.default_yaml),
        "docker": text(PackageResources.docker_yaml),
        "fedora": text(PackageResources.fedora_yaml),
        "_images/alpine": text(PackageResources.images_alpine_yaml),
        "_images/debian": text(PackageResources.images_debian_yaml),
        "_images/fedora": text(PackageResources.images_fedora_yaml),
        "_images/ubuntu": text(PackageResources.images_ubuntu_yaml),
        "k3s": text(PackageResources.k3s_yaml),
        "mini": text(PackageResources.mini_yaml),
        "podman": text(PackageResources.podman_yaml),
        "ubuntu": text(PackageResources.ubuntu_yaml),
    ]

    /// The POSIX sh scripts that a guest runs, by name: `boot.sh` at every boot; `channel.sh` as its end of the guest channel,
    /// which begins the others.
    package static let guestScripts: [String: String] = [
        "boot.sh": text(PackageResources.boot_sh),
        "changed.sh": text(PackageResources.changed_sh),
        "channel.sh": text(PackageResources.channel_sh),
        "mounts.sh": text(PackageResources.mounts_sh),
        "ports.sh": text(PackageResources.ports_sh),
    ]
    /// What systemd needs, by name, to run the boot script in guests that cloud-init has set up before.
    package static let guestUnits: [String: String] = [
        "hostagent.service": text(PackageResources.hostagent_service),
        "hostagent-channel.service": text(PackageResources.hostagent_channel_service),
        "hostagent-environment.sh": text(PackageResources.hostagent_environment_sh),
    ]
    /// The systemd unit of an instance, with `@NAME@` placeholders.
    package static let systemdUnit = text(PackageResources.lima_vm_INSTANCE_service)

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}
