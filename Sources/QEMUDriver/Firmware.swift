import HostModel
import HostOS

/// UEFI firmware of the distribution: the code, and the variables that a new guest begins with.
package struct Firmware: Sendable, Equatable {
    package let code: String
    package let variables: String

    /// Where it is installed: Debian's ovmf and qemu-efi-aarch64, Fedora's edk2, Homebrew's qemu on Apple's processors and
    /// on Intel's.
    private static let candidates: [Architecture: [(code: String, variables: String)]] = [
        .x86_64: [
            ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
            ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
            ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
            ("/opt/homebrew/share/qemu/edk2-x86_64-code.fd", "/opt/homebrew/share/qemu/edk2-i386-vars.fd"),
            ("/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"),
        ],
        .aarch64: [
            ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
            ("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
            ("/opt/homebrew/share/qemu/edk2-aarch64-code.fd", "/opt/homebrew/share/qemu/edk2-arm-vars.fd"),
            ("/usr/local/share/qemu/edk2-aarch64-code.fd", "/usr/local/share/qemu/edk2-arm-vars.fd"),
        ],
    ]

    /// - Throws: `HostError` with `.unavailable` where none is installed.
    package static func find(_ architecture: Architecture) throws(HostError) -> Firmware {
        let there = candidates[architecture, default: []].first {
            Files.kind($0.code) == .regular && Files.kind($0.variables) == .regular
        }
        guard let there else {
            throw HostError(
                .unavailable, "there is no UEFI firmware for \(architecture.rawValue) on this host",
                hint: architecture == .x86_64
                    ? HostPackages.install("ovmf", homebrew: "qemu")
                        + ", or set firmware.legacyBIOS: true in lima.yaml"
                    : HostPackages.install("qemu-efi-aarch64", homebrew: "qemu"))
        }
        return Firmware(code: there.code, variables: there.variables)
    }

    /// Gives a guest its own copy of the variables, unless it has one.
    /// - Throws: `HostError` with `.cannotCreate`.
    package func makeVariables(at path: String) async throws {
        if Files.kind(path) != nil { return }
        do {
            try await TemporaryName.making(path) { temporary in try Files.copy(variables, to: temporary) }
        } catch let error as SystemCallError {
            throw HostError(.cannotCreate, "cannot make \(path): \(error.reason)")
        }
    }
}
