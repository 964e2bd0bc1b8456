import HostModel
import HostOS

/// The files of one instance. They have the same names as in Lima if Lima has such a file.
package struct InstanceDirectory: Sendable, Hashable {
    package let name: InstanceName
    package let path: String

    package init(name: InstanceName, path: String) {
        self.name = name
        self.path = path
    }

    /// The directory that holds all instances.
    package var home: String { String(path.dropLast(name.text.utf8.count + 1)) }

    package var limaYAML: String { path + "/lima.yaml" }
    /// The version of Lima that made the directory; Lima writes this file.
    package var limaVersion: String { path + "/lima-version" }
    /// Settings that `lima.yaml` has no key for.
    package var settings: String { path + "/hostagent.yaml" }
    /// The disk. Older versions of Lima call it `diffdisk`, newer ones let `disk` lead there.
    package var disk: String {
        let (disk, older) = (path + "/disk", path + "/diffdisk")
        let isOlder = Files.linkTarget(disk).map { $0 == "diffdisk" || $0 == older } ?? (Files.kind(disk) == nil)
        return isOlder && Files.kind(older) == .regular ? older : disk
    }
    /// The image that the disk was made from: a hard link to it, or a copy.
    package var baseDisk: String { path + "/basedisk" }
    package var kernel: String { path + "/kernel" }
    /// The archive with containerd, and a line that says where it came from.
    package var containerdArchive: String { path + "/containerd-archive" }
    package var containerdSource: String { path + "/containerd-archive.source" }
    package var kernelCommandLine: String { path + "/kernel.cmdline" }
    package var initrd: String { path + "/initrd" }
    package var firmwareVariables: String { path + "/uefi-vars.fd" }
    package var cidata: String { path + "/cidata.iso" }
    /// The identity of the seed that the guest was set up with, as it has reported.
    package var seedApplied: String { path + "/seed-applied" }
    package var agentPID: String { path + "/ha.pid" }
    package var agentSocket: String { path + "/ha.sock" }
    package var eventLog: String { path + "/ha.stdout.log" }
    package var agentLog: String { path + "/ha.stderr.log" }
    package var serialLog: String { path + "/serial.log" }
    package var qemuLog: String { path + "/qemu.log" }
    package var qmpSocket: String { path + "/qmp.sock" }
    package var channelSocket: String { path + "/chan.sock" }
    package var qemuPID: String { path + "/qemu.pid" }
    package var sshConfiguration: String { path + "/ssh.config" }
    /// OpenSSH's control master: its socket, its complaints, and the claim about its process.
    package var sshMasterSocket: String { path + "/ssh.sock" }
    package var sshMasterLog: String { path + "/ssh-master.log" }
    package var sshMasterRecord: String { path + "/ssh-master.json" }
    /// What the control master forwards.
    package var sshForwards: String { path + "/ssh-forwards.json" }
    /// The machine's end of a mount, the socket of its server by virtiofs, the complaints of its server, and the claims about
    /// the servers' processes.
    package func mountSocket(_ number: Int) -> String { "\(path)/m\(number).sock" }
    package func sharingSocket(_ number: Int) -> String { "\(path)/v\(number).sock" }
    package func mountLog(_ number: Int) -> String { path + "/" + Self.mountLogName(number) }
    package static func mountLogName(_ number: Int) -> String { "mount\(number).log" }
    package var mountServers: String { path + "/mounts.json" }
    /// Locked by the agent while it runs. This lock decides who owns the instance.
    package var agentLock: String { path + "/agent.lock" }
    /// The recent failures of an instance that a manager keeps alive.
    package var restartHistory: String { path + "/restarts.json" }
    /// Locked by a command that changes `lima.yaml`. The file exists only during the change.
    package var editLock: String { path + "/edit.lock" }
    package var guestRecord: String { path + "/guest.json" }
    package var protected: String { path + "/protected" }

    /// Files that an agent writes again if they are missing.
    private var stateFiles: [String] {
        [
            agentPID, agentSocket, eventLog, eventLog + ".1", restartHistory, qemuPID, qmpSocket, channelSocket,
            qemuLog,
            serialLog, serialLog + ".1", guestRecord, cidata, sshConfiguration, mountServers,
        ]
    }

    /// Files that lead to a running agent or guest. They are useless once both are gone.
    package var liveNames: [String] {
        let sockets = [agentSocket, qmpSocket, channelSocket]
        // The last two are those of passt, which gives the machine a network.
        return ["\(path)/net.sock", "\(path)/net.log"] + sockets
            + sockets.map { "\(path)/.\($0.dropFirst(path.utf8.count + 1))" }
            + [agentPID, qemuPID, guestRecord, mountServers]
            + (0..<Mount.maximumPorts).flatMap {
                ["\(path)/.m\($0).sock", mountSocket($0), sharingSocket($0), mountLog($0), mountLog($0) + ".1"]
            }
    }

    /// Moves directories aside that are in the place of an agent's files. Nothing in them is lost. Only the holder of
    /// the instance's lock may call this.
    /// - Returns: a sentence for each directory.
    package func clearWay() -> [String] { Self.moveDirectories(stateFiles + [agentLock]) }

    /// Does the same for files that are written before the lock is held: the locks themselves and a new agent's log.
    package func clearWayForLock() -> [String] { Self.moveDirectories([agentLock, editLock, agentLog]) }

    private static func moveDirectories(_ files: [String]) -> [String] {
        files.compactMap { file in
            Files.moveDirectoryAside(file).map { "moved \(file) to \($0): a directory was where a file belongs" }
        }
    }

    /// Records which process holds the instance. This is for information only.
    package func writeAgentPID() throws(SystemCallError) {
        try TextFile.replace(agentPID, with: "\(HostProcess.pid)\n")
    }

    /// The sockets whose paths must fit into `sun_path`.
    private var sockets: [String] { [agentSocket, qmpSocket, channelSocket] }

    /// - Throws: `HostError` with `.noSuchInstance` if the instance does not exist or no longer exists.
    package func requireExistence() throws(HostError) {
        guard Files.kind(path) == .directory else {
            throw HostError(
                .noSuchInstance, "there is no instance \"\(name)\" in \(home)",
                hint: "hostagent list shows those there are; hostagent create --name \(name) mini makes one")
        }
    }

    /// Refuses a directory whose socket paths are too long to bind. To be called before anything is made in it.
    /// - Throws: `HostError` with `.usage`.
    package func checkSocketPaths() throws(HostError) {
        let limit = UnixSocket.maximumPathLength
        for socket in sockets where socket.utf8.count > limit {
            throw HostError(
                .usage, "the path \(socket) has \(socket.utf8.count) bytes, a socket's may have \(limit)",
                hint: "set LIMA_HOME to a shorter path, or give the instance a shorter name")
        }
    }

    /// Whether an agent holds this instance.
    /// - Throws: `HostError` if the lock cannot be queried.
    package func isHeld() throws(HostError) -> Bool {
        do {
            return try FileLock.isHeld(path: agentLock)
        } catch {
            throw HostError(.notPermitted, "cannot ask for the lock of \"\(name)\": \(error)")
        }
    }

    /// The process ID of another program, such as Lima, that listens on the agent's socket without holding the lock.
    /// Only meaningful if nobody holds the lock.
    package var stranger: Int32? {
        Files.kind(agentSocket) == .socket ? UnixSocket.listener(path: agentSocket) : nil
    }

    /// The error for an instance that another program holds.
    package func heldBy(stranger pid: Int32) -> HostError {
        HostError(
            .held, "the instance \"\(name)\" is held by process \(pid), which is not a hostagent",
            hint: "if that is Lima's, stop it with: limactl stop \(name)")
    }

    /// The process ID in `ha.pid`. This is for information only: the lock decides.
    package var recordedAgentPID: Int32? {
        (try? TextFile.read(agentPID, limit: 64)).flatMap { Int32($0.trimmed) }
    }
}
