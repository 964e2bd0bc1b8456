import HostModel
import Testing

@Suite struct TextFormTests {
    @Test(arguments: [
        ("plain ü 漢 👍\tx\n", "plain ü 漢 👍\tx\n"), ("\u{1b}[2Jx\r\u{7}", "[2Jx"), ("a\u{9b}31mb\u{7f}c", "a31mbc"),
        ("\u{85}\u{90}q\u{9c}", "q"), ("abc\u{202e}fed\u{2066}", "abcfed"), ("", ""), ("\0", ""),
    ])
    func whatATerminalIsShown(_ text: String, _ shown: String) { #expect(DisplayText.cleaned(text) == shown) }

    @Test func forms() {
        #expect(Hexadecimal.text([0, 15, 16, 255]) == "000f10ff")
        #expect(ShellWord.quoted("it's $x") == #"'it'\''s $x'"#)
        #expect(InstanceName.quoted("a\u{9b}\u{1b}b") == #""a\u{9b}\u{1b}b""#)
    }

    @Test(.timeLimit(.minutes(1))) func aTimeLimitCancelsTheWork() async throws {
        let began = ContinuousClock.now
        let late: Void? = try await withTimeLimit(.milliseconds(50)) { try await Task.sleep(for: .seconds(50)) }
        #expect(late == nil && ContinuousClock.now - began < .seconds(20))
        #expect(try await withTimeLimit(.seconds(50)) { 7 } == 7)
        await #expect(throws: HostError.self) {
            try await withTimeLimit(.seconds(50)) { throw HostError(.failed, "x") }
        }
    }

    @Test(.timeLimit(.minutes(1))) func waitsGrowToTheirLimit() async throws {
        var backoff = Backoff(from: .milliseconds(1), to: .milliseconds(4))
        let began = ContinuousClock.now
        for _ in 0..<5 { try await backoff.pause() }
        #expect(ContinuousClock.now - began >= .milliseconds(1 + 2 + 4 + 4 + 4))
        let waiting = Task { () async throws in
            var long = Backoff(from: .seconds(60), to: .seconds(60))
            try await long.pause()
        }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
    }
}
