#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A pipe whose ends are not inherited unless given on purpose.
package struct Pipe: ~Copyable {
    package let reader: Descriptor
    package let writer: Descriptor

    package init() throws(SystemCallError) {
        var ends: [Int32] = [0, 0]
        try systemCall("pipe", "") { pipe(&ends) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        reader = Descriptor(taking: ends[0])
        writer = Descriptor(taking: ends[1])
    }

    /// Gives up the writing end, so that the reader sees the end when the other holders are gone.
    package consuming func closingWriter() -> Descriptor { reader }
}

extension Descriptor {
    /// Reads what there is, waiting for at least one byte; empty at the end.
    package borrowing func read(upTo count: Int = 16_384, subject: String) throws(SystemCallError) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: count)
        let got = try systemCall("read", subject) {
            #if canImport(Glibc)
                Glibc.read(number, &buffer, count)
            #else
                Darwin.read(number, &buffer, count)
            #endif
        }
        return Array(buffer[..<got])
    }
}
