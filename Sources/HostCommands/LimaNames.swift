import HostModel

/// What differs when the program is called by one of Lima's names: `limactl`, or `lima` for a shell in an instance.
package struct LimaNames {
    /// The arguments as this program takes them.
    package private(set) var arguments: [String]
    /// Whether questions may be asked.
    package private(set) var mayAsk = true

    /// - Parameters:
    ///   - program: the path by which the program was called.
    ///   - environment: the variables of this process.
    /// - Throws: `HostError` with `.usage` for a global flag of Lima without its value.
    package init(program: String, _ arguments: [String], _ environment: [String: String]) throws(HostError) {
        switch program.split(separator: "/").last {
        case "limactl":
            self.arguments = []
            try takeGlobalFlags(arguments)
        case "lima": self.arguments = Self.shell(arguments, environment)
        default: self.arguments = arguments
        }
        self.arguments = Self.separatingEmptyValues(self.arguments)
    }

    /// Lima takes `--name=` as an empty value. Here the next word would be the value.
    private static func separatingEmptyValues(_ arguments: [String]) -> [String] {
        var result: [String] = []
        var positional = 0
        for (index, argument) in arguments.enumerated() {
            if argument.hasPrefix("--"), argument.hasSuffix("="), argument.count > 3 {
                result += [String(argument.dropLast()), ""]
                continue
            }
            result.append(argument)
            if !argument.hasPrefix("-") { positional += 1 }
            // The command that `shell` runs has flags of its own.
            if argument == "--" || positional == 2 && arguments.first == "shell" {
                return result + arguments[(index + 1)...]
            }
        }
        return result
    }

    /// Lima's flags that every command takes. Those for logs have no effect: this program has no log levels.
    private mutating func takeGlobalFlags(_ given: [String]) throws(HostError) {
        var rest = given[...]
        var positional = 0
        while let argument = rest.popFirst() {
            let (name, value) =
                argument.firstIndex(of: "=").map {
                    (String(argument[..<$0]), String(argument[argument.index(after: $0)...]))
                } ?? (argument, nil)
            switch name {
            case "--log-level", "--log-format":
                guard value != nil || rest.popFirst() != nil else { throw HostError(.usage, "\(name) needs a value") }
            case "--debug": break
            case "--tty": mayAsk = value != "false"
            case "-y", "--yes": mayAsk = value == "false"
            default:
                arguments.append(argument)
                if argument.hasPrefix("-"), argument != "--" { continue }
                positional += 1
                // What follows an instance of `shell` is a command with flags of its own.
                if argument == "--" || positional == 2 && arguments.contains("shell") {
                    arguments += rest
                    return
                }
            }
        }
    }

    /// `lima COMMAND…` is `limactl shell $LIMA_INSTANCE COMMAND…`.
    private static func shell(_ arguments: [String], _ environment: [String: String]) -> [String] {
        func given(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        return ["shell"] + (given("LIMA_SHELL").map { ["--shell", $0] } ?? [])
            + (given("LIMA_WORKDIR").map { ["--workdir", $0] } ?? []) + [given("LIMA_INSTANCE") ?? "default"]
            + arguments
    }
}
