import HostModel
import HostOS
import HostTestSupport
import Testing

/// A guest that Lima has set up, and that Lima uses again afterwards. Lima itself is not at hand: its script and its volume
/// stand for it, with the names and the behaviour of Lima's. The guest boots from its disk, as those of Lima do.
@Suite(.enabled(if: Checkout.canBootDebianFromDisk), .largeGuestSlot)
struct LimaGuestTests {
    /// What Lima leaves in a guest: it mounts any volume with the label and runs its boot script.
    private static let limasScript = """
        #!/bin/sh
        set -eux
        mkdir -p -m 700 /mnt/lima-cidata
        mount -o ro,mode=0700,dmode=0700,exec LABEL=cidata /mnt/lima-cidata
        export LIMA_CIDATA_MNT=/mnt/lima-cidata
        exec /mnt/lima-cidata/boot.sh

        """

    /// The path of the script in the guest.
    private static let path = "/var/lib/cloud/scripts/per-boot/00-lima.boot.sh"

    @Test func startsHereAndUnderLimaAgain() async throws {
        let home = try TestHome()
        let yaml = """
            cpus: 1
            memory: 1GiB
            disk: 8GiB
            images: [{location: "\(Checkout.debianGuest)/bootable.qcow2"}]

            """
        try await home.succeeds("create", "--name", "lima", "-", input: yaml)
        let directory = home.directory("lima")
        // As an older Lima calls it, and with the link that a newer one makes.
        try Files.move(directory + "/disk", to: directory + "/diffdisk")
        #expect(try await Tool("ln", ["-s", "diffdisk", directory + "/disk"]).run().succeeded)
        let started = try await home.run("start", "lima")
        #expect(started.succeeded, "\(started) \(TextFile.tail(directory + "/serial.log", count: 3000))")
        let installed = try await home.tool(
            ["shell", "lima", "sudo", "sh", "-c", "cat > \(Self.path); chmod 755 \(Self.path)"]
        ).with(input: Self.limasScript).run()
        #expect(installed.succeeded, "\(installed)")
        let confirmation = directory + "/seed-applied"
        #expect(await eventually(within: 60) { Files.kind(confirmation) == .regular })
        try await home.succeeds("stop", "lima")

        try await bootWithoutCloudInit(home)
        try await bootAnOlderState(home)
        try await bootUnderLima(directory)
    }

    /// Nothing has changed. The guest's own boot loader makes the kernel's command line, so the guest learns it otherwise.
    private func bootWithoutCloudInit(_ home: borrowing TestHome) async throws {
        try await home.succeeds("start", "lima")
        let state = try await home.run(
            "shell", "lima", "sh", "-c",
            "cat /proc/cmdline /sys/class/dmi/id/chassis_asset_tag; systemctl is-active cloud-init cloud-final hostagent; "
                + "cloud-init status --wait; test ! -e /run/cloud-init/result.json && echo none")
        #expect(!state.output.contains("cloud-init=") && state.output.contains("hostagent.setup=done\n"), "\(state)")
        #expect(state.output.contains("\ninactive\ninactive\nactive\n"), "\(state)")
        #expect(state.output.hasSuffix("status: disabled\nnone\n"), "\(state)")
        #expect(try home.events("lima").contains { $0.kind == "guest-ready" })
        // An older state of the disk, which the host cannot know of.
        let mark = "echo old > /var/lib/hostagent/applied; sync"
        #expect(try await home.run("shell", "lima", "sudo", "sh", "-c", mark).succeeded)
        try await home.succeeds("stop", "lima")
    }

    /// cloud-init runs after all, and with it Lima's script.
    private func bootAnOlderState(_ home: borrowing TestHome) async throws {
        let restored = try await home.run("start", "lima")
        #expect(restored.succeeded, "\(restored)")
        #expect(try home.events("lima").contains { $0.kind == "warning" }, "the person is told")
        // cloud-init's last stage ends after the guest is ready.
        let applied = "test \"$(cat /var/lib/hostagent/applied)\" != old && test -f /run/cloud-init/result.json"
        #expect(
            try await eventually(within: 60) { try await home.run("shell", "lima", "sh", "-c", applied).succeeded })
        let state = try await home.run(
            "shell", "lima", "sh", "-c", "sudo mountpoint /mnt/lima-cidata; sudo cloud-init schema --system")
        #expect(
            state.output.contains("is a mountpoint") && state.output.contains("Valid cloud-config"), "\(state)")
        try await home.succeeds("stop", "lima")
    }

    /// Boots the disk with a volume like Lima's, and waits for the end of its boot script.
    private func bootUnderLima(_ directory: String) async throws {
        let volume = directory + "/volume"
        try Files.makeDirectory(volume)
        try TextFile.replace(volume + "/meta-data", with: "instance-id: iid-1234567890\nlocal-hostname: lima-lima\n")
        try TextFile.replace(volume + "/user-data", with: "#cloud-config\nbootcmd: []\n")
        try TextFile.replace(volume + "/lima.env", with: "LIMA_CIDATA_NAME=lima\n")
        let boot = """
            #!/bin/sh
            set -eu
            . "${LIMA_CIDATA_MNT}/lima.env"
            mounted=$(grep -c "hostagent/cidata" /proc/mounts || true)
            echo "LIMA-BOOT-DONE $LIMA_CIDATA_NAME mounted=$mounted disabled=$(test -e /etc/cloud/cloud-init.disabled && echo yes || echo no)" > /dev/console
            sync
            poweroff -f

            """
        try TextFile.replace(volume + "/boot.sh", with: boot, mode: 0o755)
        let iso = directory + "/lima.iso"
        #expect(try await Tool("genisoimage", ["-quiet", "-r", "-V", "cidata", "-o", iso, volume]).run().succeeded)
        let console = directory + "/lima.log"
        let machine = Tool(
            "timeout",
            [
                "240", "qemu-system-x86_64", "-M", "q35,accel=tcg", "-cpu", "max", "-m", "1024", "-smp", "2",
                "-nodefaults", "-display", "none", "-no-reboot", "-kernel", Checkout.debianGuest + "/kernel", "-initrd",
                Checkout.debianGuest + "/initrd", "-append", "console=ttyS0 root=LABEL=root ro quiet", "-serial",
                "file:" + console, "-drive", "if=virtio,format=qcow2,file=" + directory + "/diffdisk", "-drive",
                "if=virtio,format=raw,readonly=on,file=" + iso, "-nic", "user,model=virtio-net-pci",
            ])
        let ended = try await machine.run()
        let log = try TextFile.read(console)
        #expect(
            ended.succeeded && log.contains("LIMA-BOOT-DONE lima mounted=0 disabled=no"),
            "\(ended) \(log.suffix(3000))")
    }
}
