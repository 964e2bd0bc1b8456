import HostModel
import HostOS
import HostTestSupport
import InstanceStore
import Testing

@Suite(.enabled(if: Tool.path(of: "qemu-img", in: nil) != nil)) struct DiskStoreTests {
    private final class Fixture: Sendable {
        let scratch: Scratch
        let home: LimaHome
        let store: DiskStore
        let data: InstanceName

        init() async throws {
            scratch = try Scratch()
            home = LimaHome(path: scratch.path)
            store = DiskStore(home: home)
            data = try InstanceName("data")
            try await store.create(data, size: 1 << 20, format: "qcow2")
        }

        func instance(_ name: String) throws -> InstanceDirectory {
            let directory = home.directory(of: try InstanceName(name))
            try Files.makeDirectory(directory.path)
            return directory
        }
    }

    @Test func madeGrownAndRemoved() async throws {
        let fixture = try await Fixture()
        #expect(fixture.store.disks.map(\.name.text) == ["data"])
        #expect(try fixture.store.disk(fixture.data).size == 1 << 20)
        await #expect(throws: HostError.self) { try await fixture.store.create(fixture.data, size: 1, format: "raw") }
        try await fixture.store.resize(fixture.data, to: 2 << 20)
        #expect(try fixture.store.disk(fixture.data).size == 2 << 20)
        let shrunk = await #expect(throws: HostError.self) { try await fixture.store.resize(fixture.data, to: 1 << 20) }
        #expect(shrunk?.message.contains("can only grow") == true)
        try await fixture.store.delete(fixture.data, force: false)
        #expect(fixture.store.disks.isEmpty)
        let missing = #expect(throws: HostError.self) { try fixture.store.disk(fixture.data) }
        #expect(missing?.hint?.contains("disk create data") == true)
    }

    @Test func aDiskOfAStoppedInstanceIsNotRemovedByMistake() async throws {
        let fixture = try await Fixture()
        let owner = try fixture.instance("owner")
        try TextFile.replace(owner.limaYAML, with: "images: [{location: /x}]\nadditionalDisks: [data]\n")
        let refused = await #expect(throws: HostError.self) {
            try await fixture.store.delete(fixture.data, force: false)
        }
        #expect(refused?.code == .held && refused?.message.contains("\"owner\"") == true)
        #expect(fixture.store.disks.count == 1)
        try await fixture.store.delete(fixture.data, force: true)
        #expect(fixture.store.disks.isEmpty)
    }

    @Test func oneInstanceUsesIt() async throws {
        let fixture = try await Fixture()
        let (one, two) = (try fixture.instance("one"), try fixture.instance("two"))
        _ = try await fixture.store.claim([fixture.data], for: one)
        #expect(try fixture.store.disk(fixture.data).user == one.path)
        guard let lock = try FileLock.acquire(path: one.agentLock) else {
            Issue.record("the lock is free")
            return
        }
        let error = await #expect(throws: HostError.self) {
            try await fixture.store.claim([fixture.data], for: two)
        }
        #expect(error?.code == .held && error?.message.contains(one.path) == true)
        for change in ["delete", "resize", "unlock"] {
            await #expect(throws: HostError.self, "\(change)") {
                switch change {
                case "delete": try await fixture.store.delete(fixture.data, force: false)
                case "resize": try await fixture.store.resize(fixture.data, to: 4 << 20)
                default: try await fixture.store.unlock(fixture.data)
                }
            }
        }
        // Its own next start takes it again. After a crash, the link alone keeps nobody out.
        _ = try await fixture.store.claim([fixture.data], for: one)
        lock.release()
        _ = try await fixture.store.claim([fixture.data], for: two)
        #expect(try fixture.store.disk(fixture.data).user == two.path)
        // Only its user gives it back.
        fixture.store.release([fixture.data], by: one)
        #expect(try fixture.store.disk(fixture.data).user == two.path)
        fixture.store.release([fixture.data], by: two)
        #expect(try fixture.store.disk(fixture.data).user == nil)
    }

    /// A guest that outlived its agent still has the file locked.
    @Test func aLockedFileIsInUseWhateverTheLinkSays() async throws {
        let fixture = try await Fixture()
        let two = try fixture.instance("two")
        guard let lock = try FileLock.acquire(path: fixture.store.disk(fixture.data).file) else {
            Issue.record("the lock is free")
            return
        }
        await #expect(throws: HostError.self) { try await fixture.store.claim([fixture.data], for: two) }
        await #expect(throws: HostError.self) { try await fixture.store.delete(fixture.data, force: true) }
        lock.release()
        _ = try await fixture.store.claim([fixture.data], for: two)
    }
}
