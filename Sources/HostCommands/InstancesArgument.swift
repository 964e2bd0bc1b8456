import ArgumentParser
import HostModel
import HostOS

/// The argument that names one or more instances.
struct InstancesArgument: ParsableArguments {
    @Argument(help: "The instances' names.", completion: .instanceNames)
    var names = ["default"]

    /// Does something with each. What fails for one instance is said, and does not keep the others from their turn.
    /// - Throws: the last error.
    func forEach(_ work: (String) async throws -> Void) async throws {
        var failure: (any Error)?
        for name in names {
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
