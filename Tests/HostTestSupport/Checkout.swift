import Foundation
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
        environment["HOSTAGENT_REQUIRE_ALL"] == "1" || Files.kind(dataDirectory + "/hostagent/debian/disk.qcow2") != nil
    }

    /// The directory of the guests' files.
    package static var dataDirectory: String {
        environment["XDG_DATA_HOME"] ?? (environment["HOME"] ?? "/root") + "/.local/share"
    }

    package static var miniGuest: String { dataDirectory + "/hostagent/mini" }
}
