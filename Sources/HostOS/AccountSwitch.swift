import HostModel

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Runs programs as another account. In a directory that another account owns, root works only as that account.
/// Anything planted there can then reach no more than its owner could reach anyway.
package enum AccountSwitch {
    /// Variables of this process that mean the same to another account. The others could point it to this account's
    /// files, sessions and sockets.
    private static let kept: Set<String> = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "NO_COLOR"]

    /// The helper that runs a program as an account, with the groups of that account and no privilege of root:
    /// setpriv(1) of util-linux, or sudo(8) where there is no setpriv.
    ///
    /// The helper gets its own session. Otherwise a process of that account could type into this process's terminal
    /// (ioctl_tty(2), TIOCSTI).
    /// - Parameter variables: set in addition to those that describe the account.
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
        let switcher = switcher(account)
        var tool = Tool(switcher.name, switcher.options + [program] + arguments, input: input)
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
