import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import ServiceManagers

struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Reports what on this host prevents guests or their autostart from working, and how to fix it.")

    @Option(help: ArgumentHelp("table or json.", valueName: "format"))
    var format = "table"

    func validate() throws {
        if !["table", "json"].contains(format) { throw ValidationError("--format is table or json, not \(format)") }
    }

    func run() async throws {
        let context = OperationContext.current
        // Registrations of removed instances are checked, too. Registrations at boot of other accounts are not.
        let registrations = context.manager.registrations().filter {
            context.account.uid == 0 || [nil, context.account.name].contains($0.owner)
        }
        let findings =
            Self.programs(context) + [await acceleration(context)] + (await context.manager.diagnose(registrations))
        if format == "json" {
            for finding in findings { StandardStreams.output(try JSONText.line(finding)) }
        } else {
            StandardStreams.output(
                TextTable.render(
                    header: ["CHECK", "VERDICT", "DETAIL"],
                    cells: findings.map { [$0.check, $0.verdict.rawValue, $0.detail] },
                    below: findings.map { finding in finding.fix.map { ["fix: \($0)"] } ?? [] }))
        }
        if findings.contains(where: { $0.verdict == .problem }) { throw Exit(status: .unavailable) }
    }

    private static func programs(_ context: OperationContext) -> [HostFinding] {
        let qemu = "qemu-system-\(Architecture.host.rawValue)"
        let package = Architecture.host == .x86_64 ? "qemu-system-x86" : "qemu-system-arm"
        let needed = [
            ([qemu], package, "qemu"), (["qemu-img"], "qemu-utils", "qemu"), (["ssh"], "openssh-client", "openssh"),
            (["ssh-keygen"], "openssh-client", "openssh"),
            (
                HostProcess.hasLaunchd ? ["hdiutil"] : ["genisoimage", "mkisofs", "xorrisofs"], "genisoimage",
                "cdrtools"
            ),
        ]
        return needed.map { names, debian, homebrew in
            let path = names.lazy.compactMap { Tool.path(of: $0, in: context.environment["PATH"]) }.first
            let check = names.joined(separator: " or ")
            return path.map { HostFinding(check, .ok, $0) }
                ?? HostFinding(check, .problem, "not in PATH", fix: HostPackages.install(debian, homebrew: homebrew))
        }
    }

    private func acceleration(_ context: OperationContext) async -> HostFinding {
        if let accelerator = HostProcess.hardwareAccelerator {
            switch await context.tryAccelerator() {
            case accelerator: return HostFinding("acceleration", .ok, "\(accelerator.rawValue) works")
            case nil:
                return HostFinding("acceleration", .ok, "\(accelerator.rawValue) can be opened, and was not tried")
            default:
                return HostFinding(
                    "acceleration", .warning,
                    "\(accelerator.rawValue) can be opened and does not work; guests are emulated, slowly",
                    fix: "in a guest, switch nested virtualization on; accelerator: in hostagent.yaml overrides")
            }
        }
        let exists = Files.kind("/dev/kvm") != nil
        return HostFinding(
            "acceleration", .warning,
            exists ? "/dev/kvm is there and may not be opened" : "there is no /dev/kvm; guests are emulated, slowly",
            fix: exists
                ? "sudo usermod -aG kvm \(context.account.name), then log in again"
                : "switch virtualization on in the firmware; in a guest, nested virtualization")
    }
}
