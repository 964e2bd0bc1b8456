import HostModel
import HostOS
import HostTestSupport
import Mounts
import Testing

struct ConfinedServerTests {
    @Test func librariesAreReadFromTheListingOfTheLoader() {
        let listing = """
            \tlinux-vdso.so.1 (0x00007f797fbd4000)
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f797f9ae000)
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f797fbd6000)
            """
        #expect(
            ConfinedServer.libraries(inListing: listing)
                == ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"])
        #expect(ConfinedServer.libraries(inListing: "\tstatically linked\n").isEmpty)
    }

    /// A location is one word, whatever is in it, and read-only on the host's side unless it is writable.
    @Test(arguments: [true, false], [MountType.reverseSSHFS, .virtioFS])
    func theDirectoryAndNothingElse(isWritable: Bool, type: MountType) throws {
        let location = "/home/a b/--dev-bind"
        let mount = Mount(location: location, mountPoint: "/m", isWritable: isWritable)
        let site = MountServer(mount, log: "/l", searchPath: nil)
        let server = type == .virtioFS ? site.virtioFS("/s") : site.sftp("/s")
        let arguments = server.confinement(libraries: ["/lib/c"])
        let binds = zip(arguments, arguments.dropFirst()).filter { $0.0.contains("bind") }.map { "\($0.0) \($0.1)" }
        #expect(
            binds == [
                "--ro-bind /lib/c", "--ro-bind /s", "--dev-bind /dev/null",
                "\(isWritable ? "--bind" : "--ro-bind") \(location)", "\(location) /mount",
            ])
        let end = try #require(arguments.firstIndex(of: "--"))
        #expect(arguments[..<end].contains("--remount-ro"))
        #expect(arguments[(end - 2)...(end + 1)] == ["--seccomp", "3", "--", "/s"])
        #expect(arguments.contains("-R") == (type == .reverseSSHFS && !isWritable))
    }

    @Test func anOldServerIsRecognized() {
        #expect(MountServer.knowsTranslation(help: "      --translate-uid <TRANSLATE_UID>\n"))
        #expect(
            !MountServer.knowsTranslation(help: "    --socket-path=PATH         path for the vhost-user socket\n"))
    }
}

/// Runs the filter as the kernel would (seccomp(2)).
struct ServerCallFilterTests {
    private enum Verdict { case allowed, refused, missing, killed }

    #if arch(x86_64)
        private static let architecture: UInt32 = 0xC000_003E
        private static let call = (
            read: 0 as UInt32, open: 2, openat: 257, chmod: 90, fchmod: 91, fchmodat: 268, mkdir: 83, socket: 41,
            ptrace: 101, execve: 59, mknodat: 259
        )
    #else
        private static let architecture: UInt32 = 0xC000_00B7
        private static let call = (
            read: 63 as UInt32, open: 56, openat: 56, chmod: 53, fchmod: 52, fchmodat: 53, mkdir: 34, socket: 198,
            ptrace: 117, execve: 221, mknodat: 33
        )
    #endif

    private func verdict(
        _ number: Int, _ arguments: [UInt32] = [], architecture: UInt32 = Self.architecture,
        of filter: ServerCallFilter = .streams
    ) throws -> Verdict {
        let program = try #require(filter.program())
        #expect(program.count % 8 == 0 && program.count / 8 < 4096)
        var data = [UInt8](repeating: 0, count: 64)
        func put(_ value: UInt32, at offset: Int) {
            withUnsafeBytes(of: value.littleEndian) { bytes in
                for (index, byte) in bytes.enumerated() { data[offset + index] = byte }
            }
        }
        put(UInt32(number), at: 0)
        put(architecture, at: 4)
        for (index, argument) in arguments.enumerated() { put(argument, at: 16 + 8 * index) }
        func word(_ bytes: ArraySlice<UInt8>) -> UInt32 { bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) } }
        var accumulator: UInt32 = 0
        var next = 0
        while true {
            let at = next * 8
            let code = word(program[at..<at + 2])
            let value = word(program[at + 4..<at + 8])
            func jump(_ isTrue: Bool) { next += 1 + Int(program[at + (isTrue ? 2 : 3)]) }
            switch code {
            case 0x20:
                accumulator = word(data[Int(value)..<Int(value) + 4])
                next += 1
            case 0x15: jump(accumulator == value)
            case 0x35: jump(accumulator >= value)
            case 0x45: jump(accumulator & value != 0)
            case 0x06:
                return switch value {
                case 0x7FFF_0000: .allowed
                case 0x0005_0001: .refused
                case 0x0005_0026: .missing
                default: .killed
                }
            default:
                Issue.record("unknown instruction \(code)")
                return .killed
            }
        }
    }

    @Test func filesAreReadAndWritten() throws {
        #expect(try verdict(Int(Self.call.read)) == .allowed)
        #expect(try verdict(Self.call.openat, [0, 0, 0, 0o644]) == .allowed)
        #expect(try verdict(Self.call.fchmodat, [0, 0, 0o1777]) == .allowed)
        #expect(try verdict(Self.call.execve) == .allowed, "bwrap itself starts the server")
    }

    @Test(arguments: [UInt32(0o4755), 0o2755, 0o6000]) func noProgramGetsTheRightsOfTheOwner(_ mode: UInt32) throws {
        #expect(try verdict(Self.call.openat, [0, 0, 0o100, mode]) == .refused)
        #expect(try verdict(Self.call.fchmod, [0, mode]) == .refused)
        #expect(try verdict(Self.call.fchmodat, [0, 0, mode]) == .refused)
        #expect(try verdict(452, [0, 0, mode]) == .refused)
        #if arch(x86_64)
            #expect(try verdict(Self.call.open, [0, 0o100, mode]) == .refused)
            #expect(try verdict(Self.call.chmod, [0, mode]) == .refused)
            #expect(try verdict(Self.call.mkdir, [0, mode]) == .refused)
        #endif
    }

    /// A server by virtiofs has threads, and makes pipes and sockets in the file system for the guest.
    @Test func whatASharerNeedsBeside() throws {
        #if arch(x86_64)
            let threads = [56, 272]
        #else
            let threads = [220, 97]
        #endif
        for call in threads {
            #expect(try verdict(call) == .refused)
            #expect(try verdict(call, [0x0001_0F00], of: .sharedMemory) == .allowed)
            #expect(try verdict(call, [0x1000_0000], of: .sharedMemory) == .refused, "CLONE_NEWUSER")
        }
        #expect(try verdict(435, of: .sharedMemory) == .missing, "clone3: its flags are not an argument")
        #expect(try verdict(Self.call.mknodat, [0, 0, 0o140755], of: .sharedMemory) == .allowed)
        for mode: UInt32 in [0o20666, 0o60666] {
            #expect(try verdict(Self.call.mknodat, [0, 0, mode], of: .sharedMemory) == .refused, "a device node")
        }
        for mode: UInt32 in [0o104755, 0o102755] {
            #expect(try verdict(Self.call.mknodat, [0, 0, mode], of: .sharedMemory) == .refused)
            #expect(try verdict(Self.call.fchmodat, [0, 0, mode], of: .sharedMemory) == .refused)
            #expect(try verdict(Self.call.openat, [0, 0, 0o100, mode], of: .sharedMemory) == .refused)
        }
        for call in [Self.call.socket, Self.call.ptrace, 425, 437] {
            #expect(try verdict(call, of: .sharedMemory) == .refused, "\(call)")
        }
    }

    @Test func nothingElse() throws {
        for call in [Self.call.socket, Self.call.ptrace, Self.call.mknodat, 425, 437] {
            #expect(try verdict(call) == .refused, "\(call)")
        }
        #if arch(x86_64)
            #expect(try verdict(0x4000_0000 | Self.call.chmod, [0, 0o755]) == .refused, "the x32 ABI")
        #endif
        #expect(try verdict(1, architecture: 0x4000_0003) == .killed, "a program of another architecture")
    }
}
