import HostOS

/// Files that root puts in place for an unprivileged account.
enum PrivilegedFile {
    /// Puts a file in place as a whole or not at all, from standard input: written beside it under a name that nobody else
    /// can have made, then renamed.
    static func put(_ file: String, _ privileged: (String, [String]) -> Tool) -> Tool {
        let script = #"""
            umask 022 && new=$(mktemp "$1.XXXXXXXX") && cat > "$new" && chmod 0644 "$new" && mv -f "$new" "$1" && exit
            status=$?; [ -z "$new" ] || rm -f "$new"; exit $status
            """#
        return privileged("sh", ["-c", script, "sh", file])
    }
}
