import GuestDriver
import HostModel
import QEMUDriver
import Testing

@Suite struct QEMUMachineTests {
    private func machine(
        accelerator: Accelerator = .tcg, processor: String? = nil, boot: Boot = .bios
    ) -> QEMUMachine {
        QEMUMachine(
            name: "my-vm.2_x", architecture: .x86_64, accelerator: accelerator, processor: processor, cpus: 2,
            memory: 256 << 20, boot: boot,
            paths: QEMUPaths(
                directory: "/a,b", disk: "/a,b/disk", cidata: "/a,b/cidata.iso", serialLog: "/a,b/serial.log",
                qmpSocket: "/a,b/qmp.sock", channelSocket: "/a,b/chan.sock", pidFile: "/a,b/qemu.pid",
                record: "/a,b/guest.json", errorLog: "/a,b/qemu.log"), sshLocalPort: 60022)
    }

    @Test func theNetworkMayBeAProcess() {
        var machine = machine()
        machine.network = .passt
        let network = value("-netdev", machine)
        #expect(network == "stream,id=net,server=off,addr.type=unix,addr.path=/a,,b/net.sock")
        #expect(QEMUMachine.facts(ofArguments: machine.arguments)?.sshLocalPort == 60022)
        machine.network = .user
        #expect(QEMUMachine.facts(ofArguments: machine.arguments)?.sshLocalPort == 60022)
    }

    private func value(_ option: String, _ machine: QEMUMachine) -> String? {
        let arguments = machine.arguments
        return arguments.firstIndex(of: option).map { arguments[$0 + 1] }
    }

    @Test func theWholeLine() {
        let line = machine(
            processor: "qemu64,+rdrand", boot: .kernel(path: "/k", initrd: "/i", commandLine: "quiet a=1,2")
        ).arguments
        #expect(
            line == [
                "-name", "lima-my-vm.2_x", "-nodefaults", "-no-user-config", "-machine", "q35,accel=tcg", "-cpu",
                "qemu64,+rdrand", "-smp", "2", "-m", "256M", "-display", "none", "-sandbox", "on", "-no-shutdown",
                "-action", "panic=pause", "-chardev", "socket,id=qmp,path=/a,,b/qmp.sock,server=on,wait=off", "-mon",
                "chardev=qmp,mode=control", "-kernel", "/k", "-append", "quiet a=1,2", "-initrd", "/i", "-drive",
                "if=none,id=disk,format=qcow2,discard=unmap,detect-zeroes=unmap,file=/a,,b/disk", "-device",
                "virtio-blk-pci,drive=disk,bootindex=1", "-drive",
                "if=none,id=cidata,format=raw,readonly=on,file=/a,,b/cidata.iso", "-device",
                "virtio-blk-pci,drive=cidata", "-netdev",
                "user,id=net,net=192.168.5.0/24,dhcpstart=192.168.5.15,hostfwd=tcp:127.0.0.1:60022-:22", "-device",
                "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-serial-pci", "-chardev",
                "socket,id=channel,path=/a,,b/chan.sock,server=on,wait=off", "-device",
                "virtserialport,chardev=channel,name=io.hostagent.channel.0", "-chardev",
                "file,id=serial,path=/a,,b/serial.log,append=on", "-serial", "chardev:serial", "-device", "pvpanic-pci",
            ])
    }

    /// A server by virtiofs works in the memory of the machine.
    @Test func sharedMemory() {
        var machine = machine()
        machine.additionalDevices = [SharedDirectory(number: 3, socket: "/a,b/v3.sock", queueSize: 256)]
        #expect(value("-machine", machine) == "q35,memory-backend=memory,accel=tcg")
        #expect(value("-object", machine) == "memory-backend-memfd,id=memory,size=256M,share=on")
        #expect(
            machine.arguments.suffix(4) == [
                "-chardev", "socket,id=shared3,path=/a,,b/v3.sock", "-device",
                "vhost-user-fs-pci,chardev=shared3,tag=hostagent:3,queue-size=256",
            ])
        #expect(QEMUMachine.facts(ofArguments: machine.arguments)?.accelerator == .tcg)
    }

    @Test func aNotice() {
        let notice = BootNotice(kernelArguments: ["a", "b=1"], assetTag: "x,y")
        var loaded = machine(boot: .kernel(path: "/k", initrd: nil, commandLine: "quiet"))
        loaded.tell(notice)
        #expect(value("-append", loaded) == "quiet a b=1" && value("-smbios", loaded) == nil)
        for boot in [Boot.bios, .uefi(code: "/c", variables: "/v")] {
            var booted = machine(boot: boot)
            booted.tell(notice)
            #expect(value("-append", booted) == nil && value("-smbios", booted) == "type=3,asset=x,,y")
            booted.tell(BootNotice())
            #expect(value("-smbios", booted) == nil)
        }
    }

    @Test func processors() {
        #expect(value("-cpu", machine()) == "max")
        #expect(value("-cpu", machine(accelerator: .kvm)) == "host")
        #expect(value("-cpu", machine(accelerator: .kvm, processor: "qemu64")) == "qemu64")
    }

    @Test func firmware() {
        let line = machine(boot: .uefi(code: "/c,1.fd", variables: "/v.fd")).arguments
        #expect(line.contains("if=pflash,unit=0,format=raw,readonly=on,file=/c,,1.fd"))
        #expect(line.contains("if=pflash,unit=1,format=raw,file=/v.fd"))
        #expect(!machine().arguments.contains { $0.contains("pflash") })
        #expect(!line.contains("-kernel"))
    }
}
