#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// A process that is meant to outlive its parent. It has its own session, its standard streams are files or sockets, and it
/// has no other descriptors than those it is given. All other programs are run by `Tool`.
package struct DetachedProcess: Sendable {
    package var executable: String
    /// The arguments after the program's own name, which is the executable's path.
    package var arguments: [String]
    package var environment: [String: String]
    /// Where standard input comes from.
    package var input: Stream
    /// Where standard output goes.
    package var output: Stream
    package var error: Stream
    /// Signals that are blocked in the new process. They cannot end it, whether they come from systemd, from the end of
    /// a session or from a careless kill of a control group.
    package var blockedSignals: [Int32]
    /// Open descriptors that the process has as 3, 4 and so on.
    package var inherited: [Int32]

    package enum Stream: Sendable {
        case null
        case append(path: String)
        case descriptor(Int32)
    }

    package init(
        executable: String, arguments: [String], environment: [String: String], input: Stream = .null, output: Stream,
        error: Stream, blockedSignals: [Int32] = [], inherited: [Int32] = []
    ) {
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.input = input
        self.output = output
        self.error = error
        self.blockedSignals = blockedSignals
        self.inherited = inherited
    }

    /// Starts the process.
    /// - Returns: its pid.
    /// - Throws: `SystemCallError` of posix_spawn(3), also when the executable is missing or unusable.
    package func spawn() throws(SystemCallError) -> Int32 {
        var attributes = Self.emptyAttributes()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var blocked = sigset_t()
        sigemptyset(&blocked)
        for signal in blockedSignals { sigaddset(&blocked, signal) }
        var defaults = sigset_t()
        sigemptyset(&defaults)
        for signal in [SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, SIGQUIT] {
            sigaddset(&defaults, signal)
        }
        posix_spawnattr_setsigmask(&attributes, &blocked)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        posix_spawnattr_setflags(&attributes, Self.flags)

        var actions = Self.emptyActions()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // A descriptor must not be replaced before it was passed on.
        let passed = inherited.map { fcntl($0, F_DUPFD_CLOEXEC, 64) }
        defer { for number in passed { close(number) } }
        Self.add(input, as: 0, to: &actions)
        Self.add(output, as: 1, to: &actions)
        Self.add(error, as: 2, to: &actions)
        for (index, number) in passed.enumerated() {
            posix_spawn_file_actions_adddup2(&actions, number, Int32(3 + index))
        }
        #if canImport(Glibc)
            clinux_spawn_close_from(&actions, Int32(3 + passed.count))
        #endif

        var argv: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
        var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") }
        defer { (argv + envp).forEach { free($0) } }
        argv.append(nil)
        envp.append(nil)
        var pid: pid_t = 0
        let code = posix_spawn(&pid, executable, &actions, &attributes, argv, envp)
        guard code == 0 else { throw SystemCallError("start", executable, code: code) }
        return pid
    }

    #if canImport(Glibc)
        private static let flags = Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) | clinux_spawn_setsid()
        private static func emptyAttributes() -> posix_spawnattr_t { posix_spawnattr_t() }
        private static func emptyActions() -> posix_spawn_file_actions_t { posix_spawn_file_actions_t() }
        private static func add(_ stream: Stream, as number: Int32, to actions: inout posix_spawn_file_actions_t) {
            switch stream {
            case .null:
                posix_spawn_file_actions_addopen(&actions, number, "/dev/null", number == 0 ? O_RDONLY : O_WRONLY, 0)
            case .append(let path):
                posix_spawn_file_actions_addopen(&actions, number, path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
            case .descriptor(let source): posix_spawn_file_actions_adddup2(&actions, source, number)
            }
        }
    #else
        private static let flags = Int16(
            POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID | POSIX_SPAWN_CLOEXEC_DEFAULT)
        private static func emptyAttributes() -> posix_spawnattr_t? { nil }
        private static func emptyActions() -> posix_spawn_file_actions_t? { nil }
        private static func add(_ stream: Stream, as number: Int32, to actions: inout posix_spawn_file_actions_t?) {
            switch stream {
            case .null:
                posix_spawn_file_actions_addopen(&actions, number, "/dev/null", number == 0 ? O_RDONLY : O_WRONLY, 0)
            case .append(let path):
                posix_spawn_file_actions_addopen(&actions, number, path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
            case .descriptor(let source): posix_spawn_file_actions_adddup2(&actions, source, number)
            }
        }
    #endif
}
