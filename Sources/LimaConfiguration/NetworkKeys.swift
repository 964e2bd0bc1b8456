import HostModel

/// The keys of the guest's network.
enum NetworkKeys {
    static let all: [any KeyDeclaration] = [
        PortForwardKeys.portForwards,
        Key(
            "networks", .unread("list of networks", .list([])), .machine, .start,
            .noEffect("guests have one user network, QEMU's or passt's"), merging: .combined(["interface"])),
        Key(
            "dns", .unread("list of addresses", .list([])), .guest, .start,
            .noEffect("guests ask the host's resolver through QEMU's"), merging: .first),
        hostResolver,
    ]

    private static let hosts = Key(
        "hosts",
        entries(of: .line).map("mapping of names to addresses or names") { pairs, value -> [Configuration.HostAlias]? in
            pairs.compactMap { name, target in
                guard isHostName(name), isHostName(target) || IPAddress(target) != nil else {
                    value.fault("\(InstanceName.quoted(name)): expected a host name, and an address or name for it")
                    return nil
                }
                return Configuration.HostAlias(name: name, target: target)
            }
        }, standard: "`{}`")
    static let hostResolver = Key<[Configuration.HostAlias]>(
        "hostResolver",
        .record([
            hosts,
            Key(
                "enabled", .unread("true or false"), nil, nil,
                .noEffect("guests ask the host's resolver through QEMU's")),
            Key("ipv6", .unread("true or false"), nil, nil, .noEffect("guests ask the host's resolver through QEMU's")),
        ]) { fields, _ in fields[hosts] ?? [] }, .guest, .start)

    /// RFC 1123: letters, digits, dashes and dots. Underscores are accepted, too.
    private static func isHostName(_ text: String) -> Bool {
        1...253 ~= text.utf8.count && text.first != "-"
            && text.utf8.allSatisfy {
                48...57 ~= $0 || 65...90 ~= $0 || 97...122 ~= $0 || "_.-".utf8.contains($0)
            }
    }
}
