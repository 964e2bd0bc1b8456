import ArgumentParser
import HostModel
import HostOS

/// The argument that names one or more instances.
struct InstancesArgument: ParsableArguments {
    @Argument(help: "The instances' names.", completion: .instanceNames)
    var names = ["default"]

    func forEach(_ work: (String) async throws -> Void) async throws { try await names.forEachInstance(work) }
}

/// The argument of commands that remove something, and therefore assume no name.
struct GivenInstancesArgument: ParsableArguments {
    @Argument(help: "The instances' names.", completion: .instanceNames)
    var names: [String]

    func forEach(_ work: (String) async throws -> Void) async throws { try await names.forEachInstance(work) }
}

extension [String] {
    /// Does something with each. What fails for one instance is said, and does not keep the others from their turn.
    /// - Throws: the last error.
    fileprivate func forEachInstance(_ work: (String) async throws -> Void) async throws {
        var failure: (any Error)?
        for name in self {
            do {
                try await work(name)
            } catch let error as CancellationError {
                throw error
            } catch {
                if let failure { StandardStreams.error("hostagent: \(failure)\n") }
                failure = error
            }
        }
        if let failure { throw failure }
    }
}
