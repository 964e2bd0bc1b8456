import Foundation
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration

/// Brings instances into the states that a document describes.
///
/// Each instance is looked at once. The steps follow from that (`ApplyPlan`), and a run carries out just these steps.
package struct ApplyOperation: Sendable {
    /// Gets the text from which an instance is made: of a template by its name, or nil for one that only consists of the
    /// given text. Bases are merged into it.
    package typealias Source = @Sendable (String?, ConfigurationText) async throws -> ConfigurationText

    let context: OperationContext
    let source: Source
    /// The version of this program.
    let version: String

    package init(context: OperationContext, version: String, source: @escaping Source) {
        self.context = context
        self.version = version
        self.source = source
    }

    /// How many guests boot at the same time.
    private static let startsAtOnce = max(2, ProcessInfo.processInfo.activeProcessorCount / 2)

    /// The instances are taken in their order, so that guests are restarted one after the other. Guests that are only
    /// started boot at the same time, after everything else. The failure of one instance does not concern the others.
    package func run(_ all: [DesiredInstance], dryRun: Bool) async -> [ApplyResult] {
        var works: [ApplyWork] = []
        for desired in all {
            var work = ApplyWork(desired)
            await prepare(&work)
            if !dryRun { await work.carryOut(until: .start, self) }
            works.append(work)
        }
        if !dryRun { await startAll(&works) }
        var results: [ApplyResult] = []
        for work in works { results.append(await finished(work, dryRun: dryRun)) }
        return results
    }

    private func startAll(_ works: inout [ApplyWork]) async {
        var waiting = works.indices.filter { works[$0].next == .start }
        await withTaskGroup(of: (Int, ApplyWork).self) { group in
            func addNext() {
                guard let index = waiting.first else { return }
                waiting.removeFirst()
                var work = works[index]
                group.addTask {
                    await work.carryOut(until: nil, self)
                    return (index, work)
                }
            }
            for _ in 0..<Self.startsAtOnce { addNext() }
            while let (index, work) = await group.next() {
                works[index] = work
                addNext()
            }
        }
    }

    private func finished(_ work: ApplyWork, dryRun: Bool) async -> ApplyResult {
        var result = work.result
        if dryRun, result.failure == nil { result.steps = work.steps }
        result.changed = !result.steps.isEmpty
        do {
            let directory = try context.home().directory(of: work.desired.name)
            if Files.kind(directory.path) != nil {
                result.instance = await InstanceSurvey(context: context).rows([directory]).first
            }
        } catch {
            result.fail(error)
        }
        return result
    }

    private func prepare(_ work: inout ApplyWork) async {
        do {
            if let owner = try OwnerBoundary(work.desired.name.text, context) {
                try await prepare(&work, by: owner)
            } else {
                try await observe(&work)
            }
        } catch {
            work.result.fail(error)
        }
    }
}
