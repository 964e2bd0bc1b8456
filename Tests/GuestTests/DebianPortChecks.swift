import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import Testing

/// The forwards that need more than the mini guest has: IPv6 alone, network namespaces, sockets of OpenSSH.
extension DebianGuestTests {
    /// Listens in the guest and answers each connection with a word. Perl is part of every Debian.
    private static let server = """
        #!/usr/bin/perl
        use Socket; use strict;
        my ($family, $address, $port, $only, $word) = @ARGV;
        my $s;
        if ($family eq "unix") {
            socket($s, AF_UNIX, SOCK_STREAM, 0); unlink $address; bind($s, sockaddr_un($address)) or die;
            chmod 0666, $address;
        } elsif ($family eq "6") {
            socket($s, AF_INET6, SOCK_STREAM, 0); setsockopt($s, 41, 26, pack("i", $only)) or die;
            bind($s, sockaddr_in6($port, Socket::inet_pton(AF_INET6, $address))) or die;
        } else {
            socket($s, AF_INET, SOCK_STREAM, 0); bind($s, sockaddr_in($port, inet_aton($address))) or die;
        }
        listen($s, 50) or die;
        while (accept(my $c, $s)) { syswrite $c, "$word\\n"; close $c }
        """

    /// Connects in the guest and prints what it is told.
    private static let client = """
        use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0); connect($s, sockaddr_un($ARGV[0])) or die; print <$s>
        """

    /// What the socket says: `TCP:ADDRESS:PORT` or `UNIX:PATH`.
    private func heard(_ address: String) async throws -> String {
        let script = """
            import socket, sys
            kind, _, rest = sys.argv[1].partition(":")
            if kind == "UNIX":
                s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(rest)
            else:
                s = socket.create_connection(tuple(rest.rsplit(":", 1)), timeout=5)
            print(s.recv(100).decode(), end="")
            """
        return try await Tool("python3", ["-c", script, address]).run().output.trimmed
    }

    /// Rules for `lima.yaml`: a socket of the guest on the host, and one of the host in the guest.
    func portRules(hostSocket: String) -> String {
        """

        portForwards:
        - {guestSocket: /run/word.sock, hostSocket: word.sock}
        - {guestSocket: /tmp/host.sock, hostSocket: "\(hostSocket)", reverse: true}

        """
    }

    /// - Parameter hostSocket: a path for a socket of the host, which a rule brings into the guest.
    func checkPorts(_ home: borrowing TestHome, _ name: String, hostSocket: String) async throws {
        let ports = try (0..<4).map { _ in try LoopbackPort.free() }
        let install = "cat > /tmp/server.pl"
        try await home.succeeds("shell", name, "sh", "-c", install, input: Self.server)
        let start = { (words: String) in "setsid sudo perl /tmp/server.pl \(words) > /dev/null 2>&1 < /dev/null & " }
        try await home.succeeds(
            "shell", name, "sh", "-c",
            "sudo ip netns add apart; sudo ip -n apart link set lo up; "
                + "sudo ip netns exec apart \(start("4 0.0.0.0 \(ports[0]) 0 apart"))"
                + start("6 :: \(ports[1]) 1 alone") + start("6 :: \(ports[2]) 0 both")
                + start("4 127.0.0.1 \(ports[3]) 0 loopback") + start("unix /run/word.sock 0 0 socket"))
        for (port, word) in [(ports[1], "alone"), (ports[2], "both"), (ports[3], "loopback")] {
            let isHeard = try await eventually(within: 30) { try await heard("TCP:127.0.0.1:\(port)") == word }
            let known = try home.events(name).compactMap(\.status.portForward)
            #expect(isHeard, "\(word): \(known)")
        }
        let forwarded = try home.events(name).compactMap(\.status.portForward)
        #expect(!forwarded.contains { $0.hostAddr.hasSuffix(":\(ports[0])") }, "it is of a container's network")
        #expect(forwarded.contains { $0.guestAddr == "[::1]:\(ports[1])" }, "\(forwarded)")
        #expect(forwarded.contains { $0.guestAddr == "0.0.0.0:\(ports[2])" }, "\(forwarded)")
        let socket = "UNIX:\(home.directory(name))/sock/word.sock"
        #expect(try await eventually(within: 10) { try await heard(socket) == "socket" })

        let answers =
            "import socket; s = socket.socket(socket.AF_UNIX); s.bind('\(hostSocket)'); s.settimeout(60); s.listen(); "
            + "c, _ = s.accept(); c.sendall(b'of the host')"
        async let host = Tool("python3", ["-c", answers]).run()
        #expect(await eventually(within: 10) { Files.kind(hostSocket) == .socket })
        let said = try await home.run("shell", name, "perl", "-e", Self.client, "/tmp/host.sock")
        #expect(said.output == "of the host", "\(said)")
        #expect(try await host.succeeded)
    }
}
