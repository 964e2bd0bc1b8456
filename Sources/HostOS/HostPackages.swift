/// How a person installs what is missing, in the words of this system's package manager.
package enum HostPackages {
    /// The command that installs a package: of Debian's archive, or of Homebrew on macOS.
    package static func install(_ debian: String, homebrew: String?) -> String {
        #if canImport(Glibc)
            "apt-get install \(debian)"
        #else
            homebrew.map { "brew install \($0)" } ?? "it is not available for this system"
        #endif
    }
}
