import HostModel
import LimaConfiguration
import Testing

@Suite struct MountTests {
    private func load(_ mounts: String, _ more: String = "") throws -> ResolvedConfiguration {
        try resolve("images:\n- location: /i\n  arch: x86_64\n\(more)mounts:\n\(mounts)\n")
    }

    private func mounts(_ text: String) throws -> [Mount] {
        try load(text).configuration.mounts.map { $0.located(in: "/lima/x") }
    }

    @Test func defaults() throws {
        #expect(
            try mounts("- location: /srv/data") == [
                Mount(location: "/srv/data", mountPoint: "/srv/data", isWritable: false)
            ])
        let mount = try #require(
            try mounts("- {location: /a//b/, mountPoint: '/mnt/{{.User}} x', writable: true}").first)
        #expect(mount.location == "/a/b" && mount.mountPoint.hasSuffix(" x") && !mount.mountPoint.contains("{{"))
        #expect(mount.isWritable && mount.sshfs == .init(caches: true, followsSymlinks: false))
        let options = try mounts("- {location: /a/b, sshfs: {cache: false, followSymlinks: true, sftpDriver: builtin}}")
        #expect(options.first?.sshfs == .init(caches: false, followsSymlinks: true))
    }

    @Test func placesOfTheHost() throws {
        let found = try mounts("- {location: '{{.Dir}}/d', mountPoint: /m/1}\n- {location: '~', mountPoint: /m/2}")
        #expect(found.first?.location == "/lima/x/d")
        #expect(found.last?.location.hasPrefix("/") == true && found.last?.location.contains("~") == false)
    }

    /// A directory within another one is mounted after it.
    @Test func theOrder() throws {
        let found = try mounts("- {location: /h/1, mountPoint: /m/a/b}\n- {location: /h/2, mountPoint: /m/a}")
        #expect(found.map(\.mountPoint) == ["/m/a", "/m/a/b"])
    }

    @Test func aPlainGuestHasNone() throws {
        #expect(try load("- location: /srv/data", "plain: true\n").configuration.mounts.isEmpty)
    }

    @Test(arguments: [
        ("- {}", "location: missing"), ("- {location: relative}", "absolute path"),
        ("- {location: /a/../b}", "without `.` and `..`"), ("- {location: /a, mountPoint: b}", "absolute path"),
        ("- {location: /a, mountPoint: /etc}", "the guest's own system"), ("- {location: /}", "the guest's own system"),
        ("- {location: /a, mountPoint: '{{.Home}}'}", "would hide the home"),
        ("- {location: /a, mountPoint: /run/hostagent/x}", "the guest's own system"),
        ("- {location: /a, mountPoint: '/m/x /'}", "space at its end"),
        ("- {location: '/srv/{{.Dir}}'}", "absolute path"),
        ("- {location: /a, mountPoint: /proc/x}", "the guest's own system"),
        ("- {location: '{{.Dir}}/x'}", "a mount from {{.Dir}} needs one"),
        ("- {location: \"/a\\nb\"}", "control characters"), ("- {location: '/a '}", "space at its end"),
        ("- {location: /a, mountPoint: /m/x}\n- {location: /b, mountPoint: /m/x/}", "at /m/x"),
        ("- {location: /a, writable: maybe}", "true or false"),
        ("- {location: /a, sshfs: {sftpDriver: x}}", "sftpDriver"),
        ("- {location: /a, readOnly: true}", "unknown key"),
        ("- {location: /a, virtiofs: {queueSize: 100}}", "a power of two up to 1024"),
        ("- {location: /a, virtiofs: {queueSize: 2048}}", "queueSize"),
        ((0...30).map { "- {location: /a/\($0)}" }.joined(separator: "\n"), "more than 30 mounts"),
    ])
    func mistakes(_ text: String, _ reason: String) {
        let error = #expect(throws: HostError.self) { try load(text) }
        #expect(error?.code == .badConfiguration && error?.message.contains(reason) == true, "\(error as Any)")
    }

    @Test func typesOfMounts() throws {
        let ninePFS = try load("- {location: /a, 9p: {securityModel: mapped-xattr}}", "mountType: 9p\n")
        #expect(ninePFS.warnings.contains { $0.contains("mountType") && $0.contains("reverse-sshfs") })
        #expect(ninePFS.warnings.contains { $0.contains("mounts[0].9p") })
        let virtiofs = try load("- {location: /a, virtiofs: {queueSize: 512}}\n- location: /b", "mountType: virtiofs\n")
        #expect(virtiofs.configuration.mountType == .virtioFS && virtiofs.warnings.isEmpty)
        #expect(virtiofs.configuration.mounts.map(\.virtioFSQueueSize) == [512, nil])
        #expect(try load("- location: /a", "mountType: reverse-sshfs\n").warnings.isEmpty)
        #expect(try load("- location: /a").configuration.mountType == nil)
    }
}
