/// The host's routes.
package enum HostRoutes {
    /// Whether there is a default route, by the kernel's tables (proc(5), /proc/net/route and ipv6_route).
    package static var haveDefault: Bool {
        func rows(_ table: String) -> [[Substring]] {
            ((try? TextFile.read("/proc/net/" + table)) ?? "").split(separator: "\n").map {
                $0.split(whereSeparator: \.isWhitespace)
            }
        }
        if rows("route").contains(where: { $0.count > 7 && $0[1] == "00000000" && $0[7] == "00000000" }) { return true }
        // The last column is the interface. The kernel's own default rejects on the loopback interface.
        return rows("ipv6_route").contains { $0.count > 9 && $0[1] == "00" && $0[9] != "lo" }
    }
}
