import HostModel
import Testing

@Suite struct InstanceNameTests {
    @Test(arguments: ["default", "my-vm.2_x", "a", "0", "A1", String(repeating: "a", count: 76)])
    func accepts(_ text: String) throws {
        #expect(try InstanceName(text).text == text)
    }

    @Test(arguments: [
        "", "../x", "-x", "x-", "a/b", "a\nb", "a b", ".x", "a..b", "a--b", "ä", "a\0", "a%b", "..",
        String(repeating: "a", count: 77), String(repeating: "a", count: 300),
    ])
    func refuses(_ text: String) throws {
        let error = #expect(throws: HostError.self) { try InstanceName(text) }
        #expect(error?.exitStatus == .usage)
        #expect(error?.message.contains("\n") == false, "what was typed must not break the line")
    }
}
