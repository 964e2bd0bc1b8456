#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Facts about, and settings of, this process and its user.
package enum HostProcess {
    package static var pid: Int32 { getpid() }
    package static var parent: Int32 { getppid() }
    package static var uid: UInt32 { getuid() }

    /// The account's name and home directory, from the user database.
    package static var account: (name: String, home: String)? {
        guard let entry = getpwuid(getuid()) else { return nil }
        return (String(cString: entry.pointee.pw_name), String(cString: entry.pointee.pw_dir))
    }

    /// `PATH`.
    package static var searchPath: String? { getenv("PATH").map { String(cString: $0) } }

    /// New files and sockets are the owner's alone from here on.
    package static func keepFilesPrivate() { umask(0o077) }

    /// A reader that went away is an error of a write, not the end of the program.
    package static func ignoreBrokenPipes() { signal(SIGPIPE, SIG_IGN) }

    package static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// The width of the terminal in columns; 80 when it does not say.
    package static func terminalWidth(_ descriptor: Int32) -> Int {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// The path of the running program.
    package static var executablePath: String {
        #if canImport(Glibc)
            var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
            let count = readlink("/proc/self/exe", &buffer, Int(PATH_MAX))
            if count > 0 { return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) }
        #else
            var size = UInt32(PATH_MAX)
            var buffer = [CChar](repeating: 0, count: Int(size))
            if _NSGetExecutablePath(&buffer, &size) == 0 { return String(cString: buffer) }
        #endif
        return CommandLine.arguments[0]
    }

    /// Replaces this process by another program.
    /// - Returns: only when that failed, with the reason.
    package static func become(_ executable: String, _ arguments: [String]) -> SystemCallError {
        var argv: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
        argv.append(nil)
        execv(executable, argv)
        return SystemCallError("exec", executable)
    }

    /// Ends the process at once with this status: nothing that only lives in memory is of use any more.
    package static func exit(_ status: Int32) -> Never {
        fflush(nil)
        _exit(status)
    }

    /// Seconds since some fixed moment, not moved by clock changes.
    package static var monotonicSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
