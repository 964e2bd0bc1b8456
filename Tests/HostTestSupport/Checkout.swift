import Foundation
import HostModel
import HostOS

/// The checkout from which the tests were built, and what scripts/test says about the machine.
package enum Checkout {
    package static let root = String(#filePath.dropLast("/Tests/HostTestSupport/Checkout.swift".count))

    private static var environment: [String: String] { ProcessInfo.processInfo.environment }

    /// The `hostagent` under test, from the same build.
    package static var binary: String {
        if let set = environment["HOSTAGENT_BINARY"] { return set }
        let directory = HostProcess.executablePath.split(separator: "/").dropLast().joined(separator: "/")
        return "/\(directory)/hostagent"
    }

    /// Whether tests that boot guests may run: the mini guest is built, and QEMU is installed. If scripts/test requires
    /// them, they run, and they fail if they cannot.
    package static var canBootGuests: Bool {
        environment["HOSTAGENT_REQUIRE_ALL"] == "1"
            || (Files.kind(miniGuest + "/kernel.zst") != nil && Tool.path(of: "qemu-system-x86_64", in: nil) != nil)
    }

    /// Whether tests that boot a systemd machine may run.
    package static var canBootLabs: Bool {
        environment["HOSTAGENT_REQUIRE_ALL"] == "1"
            || (HostProcess.uid == 0 && canBootGuests && Tool.path(of: "systemd-nspawn", in: nil) != nil)
    }

    package static var canBootDebian: Bool {
        environment["HOSTAGENT_REQUIRE_ALL"] == "1" || Files.kind(debianGuest + "/disk.qcow2") != nil
    }

    package static var canBootDebianFromDisk: Bool {
        environment["HOSTAGENT_REQUIRE_ALL"] == "1" || Files.kind(debianGuest + "/bootable.qcow2") != nil
    }

    /// Whether the mini guest of an architecture that this host does not have can boot.
    package static var canBootForeignGuest: Bool {
        environment["HOSTAGENT_REQUIRE_ALL"] == "1" || Files.kind(foreignMiniGuest + "/kernel.zst") != nil
    }

    /// The architecture of `foreignMiniGuest`.
    package static var foreignArchitecture: Architecture { Architecture.host == .x86_64 ? .aarch64 : .x86_64 }

    package static var foreignMiniGuest: String {
        dataDirectory + "/hostagent/mini-\(foreignArchitecture.rawValue)"
    }

    /// The directory of the guests' files.
    package static var dataDirectory: String {
        environment["XDG_DATA_HOME"] ?? (environment["HOME"] ?? "/root") + "/.local/share"
    }

    package static var debianGuest: String { dataDirectory + "/hostagent/debian" }
    package static var miniGuest: String { dataDirectory + "/hostagent/mini" }
}
