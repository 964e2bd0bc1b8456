import HostOS

/// Files that root puts in place for an unprivileged account.
enum PrivilegedFile {
    /// Writes a file from standard input, completely or not at all. The content goes to a new file beside it, which is
    /// then renamed. Nobody else can have made that file.
    static func put(_ file: String, _ privileged: (String, [String]) -> Tool) -> Tool {
        let script = #"""
            umask 022 && new=$(mktemp "$1.XXXXXXXX") && cat > "$new" && chmod 0644 "$new" && mv -f "$new" "$1" && exit
            status=$?; [ -z "$new" ] || rm -f "$new"; exit $status
            """#
        return privileged("sh", ["-c", script, "sh", file])
    }
}
