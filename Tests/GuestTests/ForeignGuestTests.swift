import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import Testing

/// A guest of another architecture than the host's, which QEMU emulates completely.
@Suite(.enabled(if: Checkout.canBootForeignGuest), .guestSlot)
struct ForeignGuestTests {
    @Test func startsAndIsAskedToShutDown() async throws {
        let home = try TestHome()
        let architecture = Checkout.foreignArchitecture.rawValue
        try await home.succeeds("create", "--name", "foreign", "--arch", architecture, "mini")
        let started = try await home.run("start", "foreign")
        #expect(
            started.succeeded, "\(started) \(TextFile.tail(home.directory("foreign") + "/serial.log", count: 3000))")
        let info = try await AgentClient(socket: home.directory("foreign") + "/ha.sock").info()
        #expect(info.state == .running && info.accelerator == .tcg, "\(info)")
        #expect(try await home.run("shell", "foreign", "uname", "-m").output == architecture + "\n")
        #expect(try await home.run("shell", "foreign", "sudo", "sh", "-c", "echo kept > /data/file; sync").succeeded)
        try await home.succeeds("stop", "foreign")
        let end = try home.events("foreign").last { $0.kind == "guest-ended" }
        #expect(end?.step == .ask, "it shut down by itself")

        try await home.succeeds("start", "foreign")
        #expect(try await home.run("shell", "foreign", "cat", "/data/file").output == "kept\n")
        try await home.succeeds("stop", "foreign")
    }

    /// UEFI of the distribution boots the disk. The firmware's shell runs `startup.nsh`, which stands for a boot loader. Only
    /// the kernel for aarch64 is a program of UEFI; that of x86-64 is unpacked (`scripts/build-mini-guest`).
    @Test(.enabled(if: Checkout.foreignArchitecture == .aarch64)) func bootsFromItsDiskByFirmware() async throws {
        let home = try TestHome()
        let work = try Scratch()
        let architecture = Checkout.foreignArchitecture
        let yaml = """
            arch: \(architecture.rawValue)
            cpus: 1
            memory: 512MiB
            disk: 256MiB
            images: [{location: "\(try await image(in: work.path))", arch: \(architecture.rawValue)}]

            """
        let created = try await home.run("create", "--name", "firmware", "-", input: yaml)
        #expect(created.succeeded, "\(created)")
        let started = try await home.run("start", "firmware")
        #expect(
            started.succeeded, "\(started) \(TextFile.tail(home.directory("firmware") + "/serial.log", count: 3000))")
        let seen = try await home.run("shell", "firmware", "sh", "-c", "uname -m; ls -d /sys/firmware/efi")
        #expect(seen.output == "\(architecture.rawValue)\n/sys/firmware/efi\n", "\(seen)")
        try await home.succeeds("stop", "firmware")
        #expect(try home.events("firmware").contains { $0.kind == "guest-ended" && $0.step == .ask })
    }

    /// A disk with one file system that UEFI reads. The kernel is a program of UEFI.
    private func image(in directory: String) async throws -> String {
        let (kernel, script, image) = (directory + "/kernel", directory + "/startup.nsh", directory + "/disk.img")
        let console = Checkout.foreignArchitecture == .aarch64 ? "ttyAMA0" : "ttyS0"
        try TextFile.replace(script, with: "fs0:\\kernel.efi initrd=\\initrd console=\(console) quiet\r\n")
        let guest = Checkout.foreignMiniGuest
        for tool in [
            Tool("zstd", ["-q", "-d", guest + "/kernel.zst", "-o", kernel]),
            Tool("truncate", ["-s", "128M", image]),
            Tool("mformat", ["-i", image, "-T", "262144", "::"]),
            Tool("mcopy", ["-i", image, kernel, "::/kernel.efi"]),
            Tool("mcopy", ["-i", image, guest + "/initrd", script, "::/"]),
        ] {
            let made = try await tool.run()
            #expect(made.succeeded, "\(made)")
        }
        return image
    }
}
