import Dispatch
import HostModel

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
    import MachO.dyld
#endif

/// Facts about this process and its user, and settings of this process.
package enum HostProcess {
    package static var pid: Int32 { getpid() }
    package static var parent: Int32 { getppid() }
    package static var uid: UInt32 { getuid() }
    package static var gid: UInt32 { getgid() }

    /// `PATH`.
    package static var searchPath: String? { getenv("PATH").map { String(cString: $0) } }

    /// From here on, only the owner can access new files and sockets.
    package static func keepFilesPrivate() { umask(0o077) }

    /// Lets a write fail when its reader has gone away, instead of ending the program.
    package static func ignoreBrokenPipes() { signal(SIGPIPE, SIG_IGN) }

    /// Silences a complaint of libdispatch. It tries to raise the priority of its manager's thread, and without
    /// privilege it reports the failure on standard error at every start (`LIBDISPATCH_LOG` of its source). Users
    /// cannot act on it.
    package static func silenceThreadPriorityComplaint() { setenv("LIBDISPATCH_LOG", "NO", 0) }

    package static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// The width of the terminal in columns; 80 when it is unknown.
    package static func terminalWidth(_ descriptor: Int32) -> Int {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// The path of the running program.
    package static var executablePath: String {
        #if canImport(Glibc)
            if let path = Files.linkTarget("/proc/self/exe") { return path }
        #else
            var size = UInt32(PATH_MAX)
            let path = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(size)) { buffer in
                _NSGetExecutablePath(buffer.baseAddress, &size) == 0
                    ? buffer.baseAddress.map { String(cString: $0) } : nil
            }
            if let path { return path }
        #endif
        return CommandLine.arguments[0]
    }

    /// The path this program was called by, if it leads to the running program. A link that is changed with each
    /// version is kept, not resolved to the file of one version.
    package static var stableExecutablePath: String {
        let called = CommandLine.arguments[0]
        let candidate: String?
        if called.hasPrefix("/") {
            candidate = called
        } else if called.contains("/") {
            candidate = workingDirectory.map { "\($0)/\(called)" }
        } else {
            candidate = Tool.path(of: called, in: searchPath)
        }
        guard let candidate, !candidate.contains("/../"), !candidate.contains("/./"),
            Files.isSame(candidate, executablePath)
        else { return executablePath }
        return candidate
    }

    /// The directory that relative paths begin in; nil if it was removed.
    package static var workingDirectory: String? {
        guard let path = getcwd(nil, 0) else { return nil }
        defer { free(path) }
        return String(cString: path)
    }

    /// Replaces this process with another program.
    /// - Returns: only on failure, with the reason.
    package static func replace(by executable: String, _ arguments: [String]) -> SystemCallError {
        var argv: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
        argv.append(nil)
        // libdispatch blocks most signals in its threads, and exec keeps that mask. A shell needs Ctrl-C and the resize
        // signal of its terminal. SIGPIPE was ignored for this program only.
        var none = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, nil)
        signal(SIGPIPE, SIG_DFL)
        execv(executable, argv)
        return SystemCallError("exec", executable)
    }

    /// The signals that ask an agent to stop or to do something. They are blocked while one program replaces another,
    /// and wait for the new program's handlers.
    package static let stopSignals = [SIGTERM, SIGINT, SIGHUP, SIGUSR2]

    /// Replaces this process with another program that inherits one descriptor in addition to the standard streams.
    /// - Parameters:
    ///   - variable: the environment variable that carries the descriptor's number.
    ///   - blocking: signals that stay blocked until the new program unblocks them.
    ///   - isRefused: asked once the signals are blocked. True cancels the replacement.
    /// - Returns: only on failure, with the reason. Nothing has changed then.
    package static func replace(
        by executable: String, _ arguments: [String], keeping descriptor: Int32, variable: String, blocking: [Int32],
        unless isRefused: () -> Bool
    ) -> SystemCallError {
        var argv: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
        argv.append(nil)
        defer { for word in argv { free(word) } }
        var blocked = sigset_t()
        var before = sigset_t()
        sigemptyset(&blocked)
        for signal in blocking { sigaddset(&blocked, signal) }
        pthread_sigmask(SIG_SETMASK, &blocked, &before)
        if isRefused() {
            pthread_sigmask(SIG_SETMASK, &before, nil)
            return SystemCallError("exec", executable, code: ECANCELED)
        }
        // Not every library opens its descriptors close-on-exec.
        for number in Int32(3)..<Int32(openDescriptorLimit) where fcntl(number, F_GETFD) >= 0 {
            _ = fcntl(number, F_SETFD, number == descriptor ? 0 : FD_CLOEXEC)
        }
        setenv(variable, String(descriptor), 1)
        execv(executable, argv)
        let failure = SystemCallError("exec", executable)
        unsetenv(variable)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        pthread_sigmask(SIG_SETMASK, &before, nil)
        return failure
    }

    /// One above the highest descriptor that may be open.
    private static var openDescriptorLimit: Int {
        #if canImport(Glibc)
            let open = (try? Files.names(in: "/proc/self/fd"))?.compactMap { Int($0) }.max()
        #else
            let open: Int? = nil
        #endif
        return (open ?? Int(getdtablesize())) + 1
    }

    private static let handlersStand = DispatchSemaphore(value: 0)

    /// Parks the first thread for the life of the process. Signals that it inherited as blocked stay blocked until
    /// `unblockSignals()`.
    package static func parkMainThread() -> Never {
        handlersStand.wait()
        var none = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, nil)
        while true { handlersStand.wait() }
    }

    /// Unblocks the inherited signals. To be called when the handlers are installed.
    package static func unblockSignals() { handlersStand.signal() }

    /// Removes a variable from this process's environment and returns its value.
    package static func takeVariable(_ name: String) -> String? {
        defer { unsetenv(name) }
        return getenv(name).map { String(cString: $0) }
    }

    /// Whether this process has a controlling terminal (tty(4)). False once the terminal has gone away.
    package static var hasTerminal: Bool { (try? Descriptor(path: "/dev/tty", flags: O_RDWR | O_NOCTTY)) != nil }

    /// The hardware acceleration that this process may try; nil where there is none.
    package static var hardwareAccelerator: Accelerator? {
        #if canImport(Glibc)
            (try? Descriptor(path: "/dev/kvm", flags: O_RDWR)) == nil ? nil : .kvm
        #else
            .hvf
        #endif
    }

    /// Runs a program such as an editor on this process's terminal until it ends, as a shell would.
    /// - Returns: its exit status, or minus the signal that killed it.
    package static func runInteractively(_ executable: String, _ arguments: [String]) throws(SystemCallError) -> Int32 {
        var argv: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
        argv.append(nil)
        defer { for word in argv { free(word) } }
        // The child inherits this thread's mask, in which libdispatch blocks most signals. Ctrl-C at the terminal is
        // meant for the child alone, so this process ignores it meanwhile, as system(3) does.
        let shared = [SIGINT, SIGQUIT]
        let handlers = shared.map { signal($0, SIG_IGN) }
        defer { for (number, handler) in zip(shared, handlers) { signal(number, handler) } }
        var none = sigset_t()
        var before = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &before)
        var pid: pid_t = 0
        let code = spawn(&pid, executable, argv, defaults: shared + [SIGPIPE])
        pthread_sigmask(SIG_SETMASK, &before, nil)
        if code != 0 { throw SystemCallError("spawn", executable, code: code) }
        switch ProcessIdentity.childEnd(of: pid) {
        case .exited(let status): return status
        case .signalled(let signal): return -signal
        case .gone: return -1
        }
    }

    private static func spawn(
        _ pid: inout pid_t, _ executable: String, _ argv: [UnsafeMutablePointer<CChar>?], defaults: [Int32]
    ) -> Int32 {
        var defaultSignals = sigset_t()
        sigemptyset(&defaultSignals)
        for number in defaults { sigaddset(&defaultSignals, number) }
        #if canImport(Glibc)
            var attributes = posix_spawnattr_t()
        #else
            var attributes: posix_spawnattr_t?
        #endif
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setsigdefault(&attributes, &defaultSignals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
        return posix_spawn(&pid, executable, nil, &attributes, argv, variables)
    }

    /// The variables of this process as the C library keeps them (environ(7)).
    private static var variables: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? {
        #if canImport(Glibc)
            environ
        #else
            _NSGetEnviron().pointee
        #endif
    }

    /// The operating system, by Go's name for it, as Lima reports it.
    package static var operatingSystem: String { hasLaunchd ? "darwin" : "linux" }

    /// Whether this host's service manager is launchd.
    package static var hasLaunchd: Bool {
        #if canImport(Glibc)
            false
        #else
            true
        #endif
    }

    /// Ends the process at once with this status. Nothing that exists only in memory is needed any more.
    package static func exit(_ status: Int32) -> Never {
        fflush(nil)
        _exit(status)
    }

    /// Seconds since an arbitrary fixed moment. Clock changes do not affect it.
    package static var monotonicSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
