import HostModel

/// The faults and warnings of one configuration. All are collected, so that a person can fix them at once.
final class Findings {
    struct Finding: Comparable {
        let place: Place
        let message: String

        var text: String { "\(place): \(message)" }

        static func < (left: Self, right: Self) -> Bool { (left.place, left.message) < (right.place, right.message) }
    }

    private(set) var faults: [Finding] = []
    private var warned: [Finding] = []

    var warnings: [String] { warned.sorted().map(\.text) }

    func fault(_ place: Place, _ message: String) { faults.append(Finding(place: place, message: message)) }

    func warn(_ place: Place, _ message: String) { warned.append(Finding(place: place, message: message)) }

    /// - Parameter file: the file that a person is asked to correct.
    /// - Throws: `HostError` with `.badConfiguration` if there are faults. Each has a line of its own.
    func throwIfFaulty(file: String) throws(HostError) {
        guard !faults.isEmpty else { return }
        let isElsewhere = faults.contains { $0.place.file != file }
        let count = faults.count == 1 ? "a mistake" : "\(faults.count) mistakes"
        throw HostError(
            .badConfiguration,
            "\(isElsewhere ? "the configuration of \(file)" : file) has \(count):\n"
                + faults.sorted().map { "  " + $0.text }.joined(separator: "\n"))
    }
}
