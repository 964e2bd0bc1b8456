import HostModel

/// What cloud-init does in a guest: the `#cloud-config` of its user data. The keys are those of cloud-init's modules.
struct CloudConfiguration: Encodable {
    struct User: Encodable {
        var name: String
        var gecos: String
        var uid: Int
        var homedir: String
        var shell: String
        var sudo: String?
        var lock_passwd = true
        var ssh_authorized_keys: [String]
    }
    struct File: Encodable {
        var path: String
        var content: String
        var permissions = "0755"
        var owner = "root:root"
    }
    struct Certificates: Encodable {
        var remove_defaults: Bool
        var trusted: [String]
    }
    var users: [User]
    var manage_etc_hosts = true
    var ssh_pwauth = false
    var package_update: Bool?
    var package_upgrade: Bool?
    var ca_certs: Certificates?
    var bootcmd: [[String]]?
    var write_files: [File]?

    /// Where a guest with cloud-init mounts the volume.
    private static let mountPoint = "/run/hostagent/cidata"
    /// Mounts the volume, and gives up if it is not this program's: Lima's has the same label.
    private static let mount =
        "mkdir -p \(mountPoint); mountpoint -q \(mountPoint) || mount -o ro LABEL=cidata \(mountPoint) || exit 0; "
        + "[ -f \(mountPoint)/hostagent/boot.sh ] || { umount \(mountPoint); exit 0; }"
    private static let log = "/var/log/cloud-init-output.log"

    init(_ seed: GuestSeed) {
        users = [
            User(
                name: seed.user.name, gecos: seed.user.comment, uid: seed.user.uid, homedir: seed.user.home,
                shell: seed.user.shell, sudo: seed.user.passwordlessSudo ? "ALL=(ALL) NOPASSWD:ALL" : nil,
                ssh_authorized_keys: seed.authorizedKeys)
        ]
        if seed.upgradesPackages { (package_update, package_upgrade) = (true, true) }
        if seed.authorities != GuestSeed.Authorities() {
            ca_certs = Certificates(
                remove_defaults: seed.authorities.removesDefaults, trusted: seed.authorities.certificates)
        }
        if !seed.plain {
            // bootcmd runs early at every boot, so the channel is there before anything can fail.
            bootcmd = [["sh", "-c", "\(Self.mount); sh \(Self.mountPoint)/hostagent/boot.sh channel \(Self.log)"]]
            write_files = [
                File(
                    path: "/var/lib/cloud/scripts/per-boot/00-hostagent",
                    content: "#!/bin/sh\n\(Self.mount)\nexec sh \(Self.mountPoint)/hostagent/boot.sh all \(Self.log)\n")
            ]
        }
    }
}
