#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A system call that failed: which, on what, why.
package struct SystemCallError: Error, Sendable, Equatable, CustomStringConvertible {
    package let call: String
    package let subject: String
    package let code: Int32

    package init(_ call: String, _ subject: String, code: Int32 = errno) {
        self.call = call
        self.subject = subject
        self.code = code
    }

    /// The reason alone, in the words of `strerror(3)`.
    package var reason: String { String(cString: strerror(code)) }

    package var description: String { "\(call) \(subject): \(reason)" }

    package var isMissing: Bool { code == ENOENT || code == ENOTDIR }
    /// A socket that nobody listens on (connect(2)).
    package var isRefusal: Bool { code == ECONNREFUSED }
    /// The other side cannot take more just now.
    package var isBusy: Bool { code == EAGAIN || code == EWOULDBLOCK }
    package var isFull: Bool { code == ENOSPC || code == EDQUOT }
    /// The last name of the path is a symbolic link, where only a file counts (open(2), O_NOFOLLOW).
    package var isLink: Bool { code == ELOOP }
    package var isDenied: Bool { code == EACCES || code == EPERM || code == EROFS }
}

/// Runs a call that returns -1 on failure, and repeats it on `EINTR`.
/// - Throws: `SystemCallError` that names the call and its subject.
@discardableResult
package func systemCall<Number: FixedWidthInteger & SignedInteger>(
    _ call: String, _ subject: String, _ body: () -> Number
) throws(SystemCallError) -> Number {
    while true {
        let result = body()
        if result != -1 { return result }
        if errno != EINTR { throw SystemCallError(call, subject) }
    }
}

extension SystemCallError {
    /// The code for a file that exceeds a limit of this program.
    package static var tooBig: Int32 { EFBIG }
}
