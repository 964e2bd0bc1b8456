import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Programs in C for what the shell of the mini guest cannot do.
enum GuestProgram {
    /// - Returns: the static program in base64, as text that a lab's file can hold.
    static func compiled(_ source: String) async throws -> String {
        let scratch = try Scratch()
        let program = scratch.path + "/program"
        try TextFile.replace(program + ".c", with: source)
        let compiled = try await Tool("clang", ["-O", "-static", "-o", program, program + ".c"]).run()
        #expect(compiled.succeeded, "\(compiled)")
        return Data(try TextFile.bytes(program, limit: 16 << 20)).base64EncodedString()
    }
}
