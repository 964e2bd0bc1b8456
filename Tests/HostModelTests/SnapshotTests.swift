import HostModel
import Testing

@Suite struct SnapshotChangeTests {
    @Test(arguments: ["x", "1", "before, the \"change\"", "-a", String(repeating: "x", count: 255), "größer"])
    func tags(_ text: String) throws { #expect(try SnapshotTag(text).text == text) }

    @Test(arguments: ["", "a\nb", "\u{1b}[31m", "\u{85}", String(repeating: "ö", count: 128)])
    func notTags(_ text: String) {
        #expect(throws: HostError.self) { try SnapshotTag(text) }
    }

    private func refusal(_ verb: SnapshotChange.Verb, _ disks: [[String]]) throws -> HostError.Code? {
        let change = SnapshotChange(verb, try SnapshotTag("a"))
        do {
            try change.check(against: disks.enumerated().map { ("disk \($0.offset)", $0.element) })
            return nil
        } catch {
            return error.code
        }
    }

    @Test func whatIsRefused() throws {
        #expect(try refusal(.create, [["b"], []]) == nil)
        #expect(try refusal(.create, [["b"], ["a"]]) == .cannotCreate)
        #expect(try refusal(.apply, [["a", "b"], ["a"]]) == nil)
        #expect(try refusal(.apply, [["a"], ["b"]]) == .unavailable)
        #expect(try refusal(.apply, [["b"], ["b"]]) == .unavailable)
        #expect(try refusal(.delete, [["b"], []]) == .unavailable)
        // What an interrupted creation left on one disk can be deleted.
        #expect(try refusal(.delete, [["b"], ["a"]]) == nil)
    }
}
