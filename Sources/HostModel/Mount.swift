/// A way in which a guest gets a directory of the host. The raw values are Lima's words.
package enum MountType: String, Sendable, Codable, CaseIterable {
    /// A server on the host, with the guest's sshfs as its client.
    case reverseSSHFS = "reverse-sshfs"
    /// QEMU's own server.
    case ninePFS = "9p"
    /// A server on the host that shares memory with the guest.
    case virtioFS = "virtiofs"

    /// Whether directories can be mounted this way. QEMU's own server would let the guest make programs that run with the
    /// rights of the mount's owner.
    package var isSupported: Bool { self != .ninePFS }
}

/// A directory of the host that a guest has.
package struct Mount: Sendable, Equatable, Codable {
    /// The directory's absolute path on the host.
    package var location: String
    /// Where the guest has it, an absolute path.
    package var mountPoint: String
    /// Whether the guest may change what is in it.
    package var isWritable: Bool
    package var sshfs = SSHFSOptions()
    /// The requests that the machine's queue of a mount by virtiofs has room for; nil means the default.
    package var virtioFSQueueSize: Int?

    /// Lima's.
    package static let defaultQueueSize = 1024

    /// Each mount takes a port and two processes, and some of the time of a boot.
    package static let maximumCount = 30

    /// A machine has ports for mounts by this many.
    package static let portsTogether = 8

    /// How many ports a machine has for this many mounts at its start. The spare ones are for mounts that are added while the
    /// guest runs.
    package static func ports(forMounts mounts: Int) -> Int {
        max(1, (mounts + portsTogether - 1) / portsTogether) * portsTogether
    }

    /// The ports of a machine with as many mounts as there can be.
    package static let maximumPorts = ports(forMounts: maximumCount)

    /// Whether the mount point is within that of the other mount, or the same.
    package func isWithin(_ other: Mount) -> Bool { (mountPoint + "/").hasPrefix(other.mountPoint + "/") }

    /// Options of sshfs(1).
    package struct SSHFSOptions: Sendable, Equatable, Codable {
        /// Whether the guest remembers what it has read.
        package var caches = true
        /// Whether symbolic links are followed on the host. They lead nowhere but to other files of the directory.
        package var followsSymlinks = false

        package init(caches: Bool = true, followsSymlinks: Bool = false) {
            self.caches = caches
            self.followsSymlinks = followsSymlinks
        }
    }

    package init(location: String, mountPoint: String, isWritable: Bool, sshfs: SSHFSOptions = SSHFSOptions()) {
        self.location = location
        self.mountPoint = mountPoint
        self.isWritable = isWritable
        self.sshfs = sshfs
    }
}

/// What became of a mount.
package enum MountState: Sendable, Equatable {
    case mounted(MountType)
    /// The host's server of it has ended; what was open in the guest is lost.
    case lost(reason: String)
    case failed(reason: String)
    /// The configuration no longer has it, and the guest was told to unmount it.
    case removed
}
