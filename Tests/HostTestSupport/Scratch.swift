import HostOS

/// A test's own directory, which is always removed afterwards. Its path is short because sockets live in it.
package struct Scratch: ~Copyable, Sendable {
    package let path: String

    package init() throws {
        let random = String(UInt32.random(in: 0 ... .max), radix: 36)
        path = "/tmp/ha-\(HostProcess.pid)-\(random)"
        try Files.makeDirectory(path)
    }

    deinit { try? Files.remove(path) }
}
