import HostModel

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Runs programs as another account: what root does in a directory that another account owns, it does as that account, so
/// that a name planted there leads to nothing that its owner could not reach anyway.
package enum AccountSwitch {
    /// Variables of this process that mean the same to another account. The others would lead it to this account's files,
    /// sessions and sockets.
    private static let kept: Set<String> = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "NO_COLOR"]

    /// The helper that runs a program as an account, with its groups and nothing of root's (setpriv(1) of util-linux;
    /// sudo(8) where there is none). It has a session of its own: a process of that account must not be able to type into
    /// this one's terminal (ioctl_tty(2), TIOCSTI).
    /// - Parameter variables: set besides the account's own.
    package static func tool(
        as account: Account, _ program: String, _ arguments: [String], input: String? = nil,
        variables: [String: String], environment: [String: String]
    ) -> Tool {
        var changes: [String: String?] = [:]
        for name in environment.keys where !kept.contains(name) { changes[name] = String?.none }
        for (name, value) in ["HOME": account.home, "USER": account.name, "LOGNAME": account.name] {
            changes[name] = value
        }
        for (name, value) in variables { changes[name] = value }
        var tool = Tool(switcher(account).name, switcher(account).options + [program] + arguments, input: input)
        tool.environment = changes
        tool.ownSession = true
        return tool
    }

    private static func switcher(_ account: Account) -> (name: String, options: [String]) {
        #if canImport(Glibc)
            (
                "setpriv",
                [
                    "--reuid=\(account.uid)", "--regid=\(account.gid)", "--init-groups", "--inh-caps=-all",
                    "--ambient-caps=-all", "--",
                ]
            )
        #else
            ("sudo", ["-n", "-E", "-u", "#\(account.uid)", "--"])
        #endif
    }
}
