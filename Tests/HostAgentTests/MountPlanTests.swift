import GuestAccess
import HostAgent
import HostModel
import InstanceStore
import LimaConfiguration
import Testing

/// What a running guest's mounts become when its configuration changes.
struct MountPlanTests {
    private static func mount(_ point: String, location: String? = nil, writable: Bool = false) -> Mount {
        Mount(location: location ?? "/host\(point)", mountPoint: point, isWritable: writable)
    }

    private func plan(_ points: String..., ports: Int? = nil) throws -> MountPlan {
        let mounts = points.map { Self.mount($0) }
        return MountPlan(
            mounts, ports: ports ?? Mount.ports(forMounts: mounts.count),
            of: InstanceDirectory(name: try InstanceName("x"), path: "/nowhere/x"), isRecorded: false, searchPath: nil)
    }

    @Test func portsComeInGroups() {
        #expect([0, 1, 8, 9, 16, 17, 30].map { Mount.ports(forMounts: $0) } == [8, 8, 8, 16, 16, 24, 32])
    }

    @Test func nothingChanges() throws {
        var plan = try plan("/a", "/b")
        #expect(plan.change(to: [Self.mount("/b"), Self.mount("/a")]) == MountChange())
        #expect(plan.isCurrent([Self.mount("/b"), Self.mount("/a")]) && !plan.isChanged)
        #expect(plan.list.text == "0 reverse-sshfs ro /a\n1 reverse-sshfs ro /b\n")
    }

    @Test func mountsComeAndGo() throws {
        var plan = try plan("/a", "/b")
        let wanted = [Self.mount("/b"), Self.mount("/a/in b", writable: true)]
        let change = plan.change(to: wanted)
        #expect(change.withdrawn == [0] && change.added == [2] && change.waiting == [])
        #expect(plan.isCurrent(wanted) && plan.isChanged)
        #expect(plan.list.text == "0 none - -\n2 reverse-sshfs rw /a/in b\n1 reverse-sshfs ro /b\n")
        // The guest knows the mounts of its machine's start when it boots again, so their numbers are not given to others.
        plan.release(0)
        #expect(plan.change(to: wanted + [Self.mount("/c")]).added == [3])
        #expect(plan.change(to: wanted).withdrawn == [3])
        // Another number is free when its mount has gone, and not before.
        #expect(plan.change(to: wanted + [Self.mount("/d")]).added == [4])
        plan.release(3)
        #expect(plan.change(to: wanted + [Self.mount("/d"), Self.mount("/e")]).added == [3])
        #expect(plan.numbers == [1, 2, 3, 4])
        #expect(plan.change(to: []).withdrawn == [1, 2, 3, 4])
        #expect(plan.isCurrent([]) && plan.list.text.hasPrefix("3 none - -\n4 none - -\n1 none"), "\(plan.list.text)")
    }

    /// A mount with other properties is another mount: the guest gets it anew, at another port.
    @Test func aMountChanges() throws {
        var plan = try plan("/a")
        let change = plan.change(to: [Self.mount("/a", writable: true)])
        #expect(change.withdrawn == [0] && change.added == [1] && change.waiting == [])
        #expect(plan.list.text == "0 none - -\n1 reverse-sshfs rw /a\n")
    }

    @Test func whatIsWithinAnotherMount() throws {
        // An inner mount may come and go.
        var outer = try plan("/a")
        #expect(outer.change(to: [Self.mount("/a/b"), Self.mount("/a")]).added == [1])
        #expect(outer.change(to: [Self.mount("/a")]).withdrawn == [1])
        // An outer one would hide, or take with it, what is mounted within.
        var inner = try plan("/a/b")
        let hidden = inner.change(to: [Self.mount("/a/b"), Self.mount("/a")])
        #expect(hidden.added == [] && hidden.waiting.count == 1)
        #expect(hidden.waiting[0].contains("/host/a is mounted at /a from the next start on"))
        var both = try plan("/a", "/a/b", "/a/b/c")
        let taken = both.change(to: [Self.mount("/a/b/c")])
        #expect(taken.withdrawn == [] && taken.waiting.count == 2, "\(taken)")
        #expect(!both.isCurrent([Self.mount("/a/b/c")]) && !both.isChanged)
        #expect(both.change(to: []).withdrawn == [0, 1, 2])
        // A name that only begins alike is not within.
        var alike = try plan("/ab")
        #expect(alike.change(to: [Self.mount("/ab"), Self.mount("/a")]).added == [1])
    }

    @Test func portsRunOut() throws {
        var plan = try plan("/0", ports: 2)
        let change = plan.change(to: ["/0", "/1", "/2"].map { Self.mount($0) })
        #expect(change.added == [1] && change.waiting.count == 1 && change.waiting[0].contains("no port to spare"))
        var none = try self.plan(ports: 0)
        #expect(none.change(to: [Self.mount("/a")]).waiting.count == 1)
    }

    @Test func theListReachesTheGuestWhole() {
        let list = MountList([.init(number: 3, type: .reverseSSHFS, mount: Self.mount(#"/a "b"\ü"#))])
        #expect(
            GuestChannel.Command.setMounts(list).line
                == #"{"type":"set-mounts","list":"3\\0040reverse-sshfs\\0040ro\\0040/a\\0040\\0042b\\0042\\0134\\0303\\0274\\0012"}"#
                + "\n")
    }
}
