import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Guests that firmware boots from their disk. One image has a boot loader for each firmware; the distribution's tools
/// make it.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct DiskBootTests {
    private static let loaderConfiguration = """
        set timeout=0
        menuentry mini {
          linux /boot/kernel console=ttyS0 quiet no_timer_check
          initrd /boot/initrd
        }

        """

    /// A bootable disk with the mini guest's programs.
    private func image(in directory: String) async throws -> String {
        let boot = directory + "/tree/boot"
        try Files.makeDirectory(boot + "/grub")
        // The loader needs the kernel in the distribution's format, which lies beside the Debian guest.
        try Files.copy(Checkout.debianGuest + "/vmlinuz", to: boot + "/kernel")
        try Files.copy(Checkout.miniGuest + "/initrd", to: boot + "/initrd")
        try TextFile.replace(boot + "/grub/grub.cfg", with: Self.loaderConfiguration)
        let image = directory + "/boot.img"
        let made = try await Tool("grub-mkrescue", ["-o", image, directory + "/tree"]).run()
        #expect(made.succeeded, "\(made)")
        return image
    }

    @Test(arguments: [true, false]) func bootsFromItsDisk(legacyBIOS: Bool) async throws {
        let home = try TestHome()
        let work = try Scratch()
        let yaml = """
            cpus: 2
            memory: 512MiB
            disk: 256MiB
            firmware: {legacyBIOS: \(legacyBIOS)}
            images: [{location: "\(try await image(in: work.path))"}]

            """
        let created = try await home.run("create", "--name", "vm", "-", input: yaml)
        #expect(created.succeeded, "\(created)")
        let started = try await home.run("start", "vm")
        #expect(started.succeeded, "\(started)")
        let firmware = try await home.run("shell", "vm", "test", "-d", "/sys/firmware/efi")
        #expect(firmware.status == (legacyBIOS ? 1 : 0))
        // The firmware keeps its variables in the instance's directory.
        let variables = home.directory("vm") + "/uefi-vars.fd"
        #expect((Files.kind(variables) == .regular) == !legacyBIOS)
        // The flash image of the firmware's variables cannot contain snapshots, and does not have to.
        try await home.succeeds("snapshot", "create", "vm", "--tag", "live")
        try await home.succeeds("snapshot", "apply", "vm", "--tag", "live")
        try await home.succeeds("shell", "vm", "true")
        try await home.succeeds("stop", "vm")
        #expect(try home.events("vm").contains { $0.kind == "guest-ended" && $0.step == .ask })
        try await home.succeeds("start", "vm")
        try await home.succeeds("stop", "vm")
    }
}
