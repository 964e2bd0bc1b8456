import HostModel
import Subprocess

// swift-subprocess takes its paths from the operating system's own library where there is one.
#if canImport(System)
    import System
#else
    import SystemPackage
#endif

/// A helper program that is run until it ends: `ssh`, `qemu-img`, `systemctl`. Its argv is a value, so tests can assert
/// it. The helper gets a reset signal mask and only the descriptors it is given.
package struct Tool: Sendable, Equatable {
    /// A name to be found in `PATH`, or an absolute path.
    package var executable: String
    package var arguments: [String]
    /// Text for its standard input; nil means none.
    package var input: String?
    /// Variables set in addition to the inherited ones; nil removes one.
    package var environment: [String: String?]
    /// Whether it runs in its own session, detached from this process's terminal.
    package var ownSession = false

    package init(
        _ executable: String, _ arguments: [String], input: String? = nil, environment: [String: String?] = [:]
    ) {
        self.executable = executable
        self.arguments = arguments
        self.input = input
        self.environment = environment
    }

    /// The same tool with this text as its standard input.
    package func with(input: String) -> Tool {
        var tool = self
        tool.input = input
        return tool
    }

    /// The exit status and the output of a finished helper.
    package struct Result: Sendable, Equatable {
        /// The exit status, or minus the signal's number.
        package var status: Int32
        package var output: String
        package var error: String

        package init(status: Int32, output: String, error: String, isCut: Bool = false) {
            self.status = status
            self.output = output
            self.error = error
            self.isCut = isCut
        }

        /// Whether its output was longer than the part that was kept.
        package var isCut: Bool

        package var succeeded: Bool { status == 0 }

        /// The last line of its standard error, or else of its output, for an error message.
        package var complaint: String {
            let lines = (error.isEmpty ? output : error).split(separator: "\n").map(String.init)
            return lines.last?.trimmed ?? (status < 0 ? "killed by signal \(-status)" : "status \(status)")
        }
    }

    /// Runs the helper. When the task is cancelled, the helper gets SIGTERM, then SIGKILL after a second.
    /// - Parameter outputLimit: how many bytes of standard output are kept. The first ones are kept, the rest is read
    ///   and discarded. Of standard error the last ones are kept, because a program says at the end why it failed.
    /// - Throws: `HostError` with `.unavailable` when it cannot be started.
    package func run(outputLimit: Int = 4 << 20) async throws -> Result {
        var options = PlatformOptions()
        options.teardownSequence = [.send(signal: .terminate, allowedDurationToNextStep: .seconds(1))]
        options.createSession = ownSession
        // A helper is not the main process of a unit, and must not talk to the service manager as if it were.
        var overrides: [Environment.Key: String?] = ["NOTIFY_SOCKET": nil, "WATCHDOG_USEC": nil, "WATCHDOG_PID": nil]
        for (name, value) in environment { overrides[Environment.Key(stringLiteral: name)] = value }
        let configuration = Configuration(
            executable: executable.contains("/") ? .path(FilePath(executable)) : .name(executable),
            arguments: Arguments(arguments), environment: .inherit.updating(overrides), platformOptions: options)
        do {
            let finished = try await Subprocess.run(
                configuration, input: .string(input ?? ""), output: .sequence, error: .sequence
            ) { execution in
                async let errors = Self.collect(execution.standardError, keepingLast: 1 << 20)
                let output = try await Self.collect(execution.standardOutput, keepingFirst: outputLimit)
                return (output, try await errors)
            }
            let status: Int32 =
                switch finished.terminationStatus {
                case .exited(let code): code
                case .signaled(let signal): -signal
                }
            let (output, errors) = finished.closureResult
            return Result(
                status: status, output: String(decoding: output.bytes, as: UTF8.self),
                error: String(decoding: errors.bytes, as: UTF8.self), isCut: output.isCut)
        } catch let error as SubprocessError {
            let absent = Self.path(of: executable, in: HostProcess.searchPath) == nil
            throw HostError(
                .unavailable, "cannot run \(executable): \(error)", hint: absent ? "install it, or correct PATH" : nil)
        }
    }

    private static func collect(
        _ stream: SubprocessOutputSequence, keepingFirst limit: Int
    ) async throws -> (bytes: [UInt8], isCut: Bool) {
        var bytes: [UInt8] = []
        var isCut = false
        for try await part in stream {
            let room = limit - bytes.count
            isCut = isCut || part.count > room
            part.withUnsafeBytes { bytes.append(contentsOf: $0.prefix(room)) }
        }
        return (bytes, isCut)
    }

    private static func collect(
        _ stream: SubprocessOutputSequence, keepingLast limit: Int
    ) async throws -> (bytes: [UInt8], isCut: Bool) {
        var bytes: [UInt8] = []
        var isCut = false
        for try await part in stream {
            part.withUnsafeBytes { bytes.append(contentsOf: $0) }
            // Trimmed only occasionally, not for every part.
            if bytes.count > 2 * limit {
                bytes.removeFirst(bytes.count - limit)
                isCut = true
            }
        }
        return (bytes.count > limit ? Array(bytes.suffix(limit)) : bytes, isCut || bytes.count > limit)
    }

    /// The path of the program of this name in `PATH`; nil when there is none.
    package static func path(of name: String, in searchPath: String?) -> String? {
        if name.contains("/") { return Files.isExecutable(name) ? name : nil }
        let directories = (searchPath ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":")
        // The directories that distributions use for administrators' programs are searched too.
        for directory in directories + ["/usr/sbin", "/sbin", "/usr/libexec"] {
            let candidate = "\(directory)/\(name)"
            if Files.isExecutable(candidate) { return candidate }
        }
        return nil
    }
}
