#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

private enum SocketDescriptor {
    /// A stream socket that programs started later do not inherit.
    static func make(_ family: Int32, subject: String) throws(SystemCallError) -> Descriptor {
        #if canImport(Glibc)
            let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
            return Descriptor(taking: try systemCall("socket", subject) { socket(family, kind, 0) })
        #else
            // There is no SOCK_CLOEXEC. A program that is spawned in between gets only what it is given
            // (POSIX_SPAWN_CLOEXEC_DEFAULT).
            let descriptor = Descriptor(taking: try systemCall("socket", subject) { socket(family, SOCK_STREAM, 0) })
            _ = fcntl(descriptor.number, F_SETFD, FD_CLOEXEC)
            return descriptor
        #endif
    }
}

/// Facts about Unix-domain sockets.
package enum UnixSocket {
    /// The longest path in bytes that fits `sun_path` with its terminating NUL: unix(7), 108 on Linux, 104 on macOS.
    package static let maximumPathLength = MemoryLayout.size(ofValue: sockaddr_un().sun_path) - 1

    /// Connects. The descriptor is non-blocking.
    /// - Parameter patience: how long the kernel waits for room in a full backlog: somebody listens, and has not
    ///   accepted the connections before this one. Without patience, a full backlog fails at once.
    /// - Throws: `SystemCallError`; `ECONNREFUSED` and `ENOENT` mean that nobody listens, `isBusy` that the backlog is
    ///   full (unix(7)).
    package static func connect(path: String, patience: Duration = .zero) throws(SystemCallError) -> Descriptor {
        let descriptor = try SocketDescriptor.make(AF_UNIX, subject: path)
        if patience == .zero {
            _ = fcntl(descriptor.number, F_SETFL, O_NONBLOCK)
        } else {
            // socket(7): a time of zero would mean to wait for ever.
            var time = timeval()
            (time.tv_sec, time.tv_usec) = (numericCast(patience.components.seconds), 1)
            time.tv_usec += numericCast(patience.components.attoseconds / 1_000_000_000_000)
            let size = socklen_t(MemoryLayout<timeval>.size)
            try systemCall("setsockopt", path) {
                setsockopt(descriptor.number, SOL_SOCKET, SO_SNDTIMEO, &time, size)
            }
        }
        try withAddress(path, for: "connect") { address, size in
            #if canImport(Glibc)
                Glibc.connect(descriptor.number, address, size)
            #else
                Darwin.connect(descriptor.number, address, size)
            #endif
        }
        _ = fcntl(descriptor.number, F_SETFL, O_NONBLOCK)
        return descriptor
    }

    /// Listens for one connection. The file is made for its owner alone.
    /// - Throws: `SystemCallError`; `EADDRINUSE` if there is a file at the path.
    package static func listen(path: String) throws(SystemCallError) -> Descriptor {
        let descriptor = try SocketDescriptor.make(AF_UNIX, subject: path)
        // Nobody can connect before it listens.
        try withAddress(path, for: "bind") { bind(descriptor.number, $0, $1) }
        try systemCall("chmod", path) { chmod(path, 0o600) }
        #if canImport(Glibc)
            try systemCall("listen", path) { Glibc.listen(descriptor.number, 1) }
        #else
            try systemCall("listen", path) { Darwin.listen(descriptor.number, 1) }
        #endif
        return descriptor
    }

    private static func withAddress(
        _ path: String, for name: String, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(SystemCallError) {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard path.utf8.count <= maximumPathLength else { throw SystemCallError(name, path, code: ENAMETOOLONG) }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        try systemCall(name, path) {
            withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    call($0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
        }
    }

    /// The process and account at the other end (unix(7), SO_PEERCRED); nil when the system does not say.
    package static func peer(of descriptor: Int32) -> (pid: Int32, uid: UInt32)? {
        #if canImport(Glibc)
            var pid: pid_t = 0
            var uid: uid_t = 0
            return clinux_peer_credentials(descriptor, &pid, &uid) == 0 ? (pid, uid) : nil
        #else
            var uid: uid_t = 0
            var gid: gid_t = 0
            var pid: pid_t = 0
            var size = socklen_t(MemoryLayout<pid_t>.size)
            guard getpeereid(descriptor, &uid, &gid) == 0,
                getsockopt(descriptor, SOL_LOCAL, LOCAL_PEERPID, &pid, &size) == 0
            else { return nil }
            return (pid, uid)
        #endif
    }

    /// Whether somebody listens on a socket file, by the kernel's table (proc(5), /proc/net/unix). Unlike `listener`, it makes
    /// no connection.
    package static func isListening(path: String) -> Bool {
        // The fourth column has the flags. __SO_ACCEPTCON is 1 << 16.
        rows(of: path).contains { $0[3] == "00010000" }
    }

    /// Whether somebody listened on the path and has accepted a connection that is still open.
    package static func isConnected(path: String) -> Bool {
        // The sixth column has the state. SS_CONNECTED is 3.
        rows(of: path).contains { $0[5] == "03" }
    }

    private static func rows(of path: String) -> [[Substring]] {
        ((try? TextFile.read("/proc/net/unix")) ?? "").split(separator: "\n").map {
            $0.split(separator: " ", maxSplits: 7)
        }.filter { $0.count == 8 && $0[7] == path }
    }

    /// The pid of the process that listens on a socket file; nil when nobody does.
    package static func listener(path: String) -> Int32? {
        guard let descriptor = try? connect(path: path) else { return nil }
        return peer(of: descriptor.number)?.pid
    }
}

/// TCP ports of the loopback address.
package enum LoopbackPort {
    /// A port that is free now.
    package static func free() throws(SystemCallError) -> Int {
        try bound(to: 0)
    }

    /// Whether nobody listens on this port of 127.0.0.1.
    package static func isFree(_ port: Int) -> Bool {
        (try? bound(to: port)) != nil
    }

    private static func bound(to port: Int) throws(SystemCallError) -> Int {
        let descriptor = try SocketDescriptor.make(AF_INET, subject: "tcp")
        // As in QEMU, an address in TIME_WAIT does not count as taken.
        var reuse: Int32 = 1
        setsockopt(descriptor.number, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        return try withUnsafeMutablePointer(to: &address) { pointer throws(SystemCallError) in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic throws(SystemCallError) in
                try systemCall("bind", "127.0.0.1:\(port)") { bind(descriptor.number, generic, size) }
                try systemCall("listen", "127.0.0.1:\(port)") { listen(descriptor.number, 1) }
                try systemCall("getsockname", "127.0.0.1:\(port)") { getsockname(descriptor.number, generic, &size) }
            }
            return Int(UInt16(bigEndian: pointer.pointee.sin_port))
        }
    }
}

extension UnixSocket {
    /// The socket option for the credentials of the other end: SO_PEERCRED of unix(7), LOCAL_PEERCRED of macOS's
    /// unix(4).
    package static var peerCredentialOption: (level: Int32, name: Int32) {
        #if canImport(Glibc)
            (SOL_SOCKET, SO_PEERCRED)
        #else
            (SOL_LOCAL, LOCAL_PEERCRED)
        #endif
    }
}

#if canImport(Glibc)
    /// The value of SO_PEERCRED: struct ucred of unix(7).
    package struct PeerCredentialRecord: Sendable {
        package let pid: Int32
        package let uid: UInt32
        package let gid: UInt32
    }
#else
    /// The value of LOCAL_PEERCRED: struct xucred of sys/ucred.h, with its sixteen groups.
    package struct PeerCredentialRecord: Sendable {
        package let version: UInt32
        package let uid: UInt32
        package let groupCount: Int16
        package let groups:
            (
                UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32,
                UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32, UInt32
            )
    }
#endif
