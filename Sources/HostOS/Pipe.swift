#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A pipe whose ends a child inherits only when they are passed to it explicitly.
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

    /// Closes the writing end. The reader then sees the end of the data when the other writers are gone.
    package consuming func closingWriter() -> Descriptor { reader }
}

extension Descriptor {
    /// Reads the bytes that are available, waiting for at least one. Empty at the end of the data.
    package borrowing func read(upTo count: Int = 16_384, subject: String) throws(SystemCallError) -> [UInt8] {
        try Self.read(from: number, upTo: count, subject: subject)
    }

    /// The same of a descriptor whose owner keeps it open meanwhile.
    package static func read(from number: Int32, upTo count: Int, subject: String) throws(SystemCallError) -> [UInt8] {
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
