import GuestAccess
import GuestDriver
import HostAgent
import HostModel
import HostOS
import HostTestSupport
import InstanceStore
import Testing

/// Whether a guest is told that cloud-init need not run. The seed's volume is made by the host's real program.
@Suite final class SetUpNoticeTests {
    private let scratch: Scratch
    private let directory: InstanceDirectory

    init() throws {
        scratch = try Scratch()
        directory = LimaHome(path: scratch.path + "/h").directory(of: try InstanceName("vm"))
        try Files.makeDirectory(directory.path)
        try write("disk: 8GiB\n")
    }

    private func write(_ yaml: String) throws {
        try TextFile.replace(directory.limaYAML, with: "images: [{location: /x.qcow2}]\n" + yaml)
    }

    /// The plan of the next start, with its volume written.
    private func start() async throws -> GuestAccessPlan {
        let plan = GuestAccessPlan(
            instance: try Instance(directory), home: LimaHome(path: directory.home),
            network: GuestSeed.Network(address: "192.168.5.15", gateway: "192.168.5.2", resolver: "192.168.5.3"),
            environment: ["HOME": scratch.path]
        ) { Issue.record("\($0)") }
        try await plan.prepare()
        return plan
    }

    /// cloud-init's instance-id, as the guest finds it on the volume.
    private func identity() throws -> String {
        let bytes = try TextFile.bytes(directory.cidata, limit: 16 << 20)
        let text = String(decoding: bytes, as: UTF8.self)
        let start = try #require(text.firstRange(of: "iid-"))
        return String(text[start.lowerBound...].prefix(20))
    }

    private func confirmedStart() async throws {
        let plan = try await start()
        plan.confirmSetUp(seed: try identity())
        #expect(Files.kind(directory.seedApplied) == .regular)
    }

    @Test func aGuestThatHasConfirmedItsSeedIsTold() async throws {
        #expect(try await start().bootNotice == BootNotice())
        try await confirmedStart()
        let next = try await start()
        #expect(next.bootNotice.kernelArguments.contains("cloud-init=disabled"))
        #expect(next.bootNotice.assetTag == "hostagent.setup=done")
        // A guest that does not confirm it again is set up again.
        #expect(try await start().bootNotice == BootNotice())
    }

    @Test func anotherSeedConfirmsNothing() async throws {
        try await start().confirmSetUp(seed: "iid-0123456789abcdef")
        #expect(Files.kind(directory.seedApplied) == nil)
    }

    /// Lima, say, has started the guest in between, and has written its own volume.
    @Test func aVolumeThatWasReplacedCounts() async throws {
        try await confirmedStart()
        try TextFile.replace(directory.cidata, with: "Lima's")
        #expect(try await start().bootNotice == BootNotice())
        try await confirmedStart()
        try Files.remove(directory.cidata)
        #expect(try await start().bootNotice == BootNotice())
    }

    @Test func aChangedConfigurationIsApplied() async throws {
        try await confirmedStart()
        try write("disk: 9GiB\n")
        #expect(try await start().bootNotice == BootNotice())
        try await confirmedStart()
        // What the boot script does needs no cloud-init.
        try write("disk: 9GiB\nprovision: [{script: 'true'}]\n")
        #expect(try await start().bootNotice != BootNotice())
    }
}
