import HostCommands
import HostModel
import Testing

@Suite struct DownloadTextTests {
    private func progress(
        _ received: Int, _ total: Int? = 100 << 20, _ state: TransferProgress.State = .receiving
    ) -> TransferProgress {
        TransferProgress(address: "https://h/dir/disk.img?x=1", received: received, total: total, state: state)
    }

    @Test func theLineHasABarARateAndTheTimeLeft() {
        var text = DownloadText()
        #expect(
            text.line(progress(0), now: 0, width: 100)
                == "disk.img  [                        ]   0%  0B of 100MiB")
        #expect(
            text.line(progress(50 << 20), now: 1, width: 100)
                == "disk.img  [============            ]  50%  50MiB of 100MiB  50MiB/s  1 s left")
        // The rate is that of the last seconds.
        #expect(
            text.line(progress(51 << 20), now: 11, width: 100)
                == "disk.img  [============            ]  51%  51MiB of 100MiB")
        #expect(text.line(progress(100 << 20, 100 << 20, .complete), now: 12, width: 100) == nil)
    }

    @Test func aNarrowTerminalGetsWholeParts() {
        var text = DownloadText()
        _ = text.line(progress(0), now: 0, width: 100)
        #expect(text.line(progress(50 << 20), now: 1, width: 50) == "disk.img  [============            ]  50%")
        #expect(text.line(progress(50 << 20), now: 2, width: 5) == "disk.")
    }

    @Test func withoutASizeAndForFollowers() {
        var text = DownloadText()
        #expect(text.line(progress(5 << 20, nil), now: 0, width: 100) == "disk.img  5MiB")
        #expect(
            text.line(progress(6 << 20, nil, .followed), now: 1, width: 100)
                == "disk.img  6MiB  1MiB/s  (another process downloads it)")
        let broken = progress(6 << 20, nil, .interrupted(reason: "the server has stopped sending", pause: 2))
        #expect(
            text.line(broken, now: 2, width: 100) == "disk.img  the server has stopped sending; trying again in 2 s")
    }
}
