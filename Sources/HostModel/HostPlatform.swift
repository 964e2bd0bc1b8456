/// A processor architecture. Lima and QEMU use the same names.
package enum Architecture: String, Sendable, Codable, CaseIterable {
    case x86_64, aarch64, armv7l, ppc64le, riscv64, s390x

    /// Whether guests of this architecture can be run. The others are those that Lima's templates name.
    package var isSupported: Bool { self == .x86_64 || self == .aarch64 }

    /// The architecture this program was built for.
    package static var host: Architecture {
        #if arch(arm64)
            .aarch64
        #else
            .x86_64
        #endif
    }
}

/// The operating system of this host.
package enum HostSystem {
    /// Its name in Go, as Lima's templates have it.
    package static var name: String {
        #if os(Linux)
            "linux"
        #else
            "darwin"
        #endif
    }
}
