import HostModel

/// The host's directories that a guest is to have, as its mounts.sh reads them. What is mounted within another mount comes after
/// it.
package struct MountList: Sendable, Equatable {
    /// One mount.
    package struct Line: Sendable, Equatable {
        /// The number of the machine's port.
        package var number: Int
        /// How the guest tries to mount it first.
        package var type: MountType
        package var mount: Mount

        /// Creates the line of a mount.
        package init(number: Int, type: MountType, mount: Mount) {
            self.number = number
            self.type = type
            self.mount = mount
        }

        /// Number, type, options of sshfs(1), and the mount point, which may have spaces in it.
        fileprivate var text: String {
            let options = [
                mount.isWritable ? "rw" : "ro", mount.sshfs.caches ? nil : "dir_cache=no",
                mount.sshfs.followsSymlinks ? "follow_symlinks" : nil,
            ]
            return
                "\(number) \(type.rawValue) \(options.compactMap { $0 }.joined(separator: ",")) \(mount.mountPoint)\n"
        }
    }

    private let lines: [Line]
    private let withdrawn: [Int]

    /// - Parameter withdrawn: the numbers of mounts that the guest is to give back, in this order.
    package init(_ lines: [Line], withdrawn: [Int] = []) {
        self.lines = lines.sorted { $0.mount.mountPoint < $1.mount.mountPoint }
        self.withdrawn = withdrawn
    }

    /// The content of the file that mounts.sh reads.
    package var text: String {
        withdrawn.map { "\($0) none - -\n" }.joined() + lines.map(\.text).joined()
    }
}
