import AgentAPI
import Foundation
import Testing

@Suite struct RouteTests {
    private static let document =
        String(#filePath.dropLast("/Tests/AgentAPITests/RouteTests.swift".count)) + "/docs/api.md"

    /// The table in docs/api.md is the program's own.
    @Test func theDocumentIsCurrent() throws {
        let text = try String(contentsOfFile: Self.document, encoding: .utf8)
        #expect(text.contains(Route.table), "put this table into docs/api.md:\n\(Route.table)")
    }

    @Test func pathsAreDistinct() {
        #expect(Set(Route.allCases.map(\.path)).count == Route.allCases.count)
        #expect(Route.allCases.allSatisfy { $0.path.hasPrefix("/v1/") })
    }
}
