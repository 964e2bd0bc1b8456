import LimaConfiguration
import Testing

@Suite struct QuantityTests {
    @Test(arguments: [
        ("4GiB", 4 << 30), ("4g", 4 << 30), ("512M", 512 << 20), ("1.5 GiB", 3 << 29), ("1048576", 1 << 20), ("0", 0),
        ("2TB", 2 << 40), ("7b", 7),
    ])
    func sizes(_ text: String, _ bytes: Int) { #expect(ByteCount.parse(text) == bytes) }

    @Test(arguments: ["", "G", "-1", "1X", "inf", "nan", "1e99", "1i", ".5G", "99999999999P", "0x10"])
    func noSizes(_ text: String) { #expect(ByteCount.parse(text) == nil) }

    @Test(arguments: [(0, "0B"), (512 << 20, "512MiB"), (3 << 29, "1.5GiB"), (100 << 30, "100GiB"), (1000, "1000B")])
    func formats(_ bytes: Int, _ text: String) { #expect(ByteCount.format(bytes) == text) }

    @Test(arguments: [("90", 90), ("90s", 90), ("2m", 120), ("1m30s", 90), ("1h", 3600)])
    func durations(_ text: String, _ seconds: Int) { #expect(Seconds.parse(text) == seconds) }

    @Test(arguments: ["", "s", "1m30", "-1s", "1d", "9999999999999999999s", "1.5s"])
    func noDurations(_ text: String) { #expect(Seconds.parse(text) == nil) }
}
