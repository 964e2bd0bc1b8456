import HostModel
import HostOS

/// The configuration for reaching a guest with the host's ssh(1): `ssh -F ssh.config lima-NAME`.
package struct SSHConfiguration: Sendable, Equatable {
    package var host: String
    package var identityFile: String
    package var user: String
    package var port: Int

    package var forwardsAgent: Bool
    package var forwardsX11: Bool
    package var forwardsX11Trusted: Bool
    /// The socket of a connection that is shared; nil if every ssh makes its own.
    package var controlPath: String?

    package init(
        instance: InstanceName, identityFile: String, user: String, port: Int, forwardsAgent: Bool = false,
        forwardsX11: Bool = false, forwardsX11Trusted: Bool = false,
        controlPath: String? = nil
    ) {
        self.controlPath = controlPath
        host = "lima-\(instance)"
        self.identityFile = identityFile
        self.user = user
        self.port = port
        self.forwardsAgent = forwardsAgent
        self.forwardsX11 = forwardsX11
        self.forwardsX11Trusted = forwardsX11Trusted
    }

    /// The text of `ssh.config` (ssh_config(5)). The guest is reached through a port of the loopback address that only
    /// QEMU listens on. It generates its own host key, so there is no known key to compare it with.
    /// - Throws: `HostError` with `.usage` when the key's path cannot be put in quotation marks.
    package var text: String {
        get throws(HostError) {
            try Representable.requireOneLine(identityFile, what: "the path of the SSH key", format: "ssh.config")
            try Representable.require(
                identityFile, without: "\"", what: "the path of the SSH key", format: "ssh.config")
            return rendered
        }
    }

    private var rendered: String {
        """
        # Made by hostagent at every start. Use: ssh -F THIS_FILE \(host)
        Host \(host)
          Hostname 127.0.0.1
          Port \(port)
          User \(user)
          IdentityFile "\(identityFile.replacing("%", with: "%%"))"
          IdentitiesOnly yes
          PreferredAuthentications publickey
          GSSAPIAuthentication no
          StrictHostKeyChecking no
          UserKnownHostsFile /dev/null
          NoHostAuthenticationForLocalhost yes
          Compression no
          KexAlgorithms ^curve25519-sha256
          BatchMode yes
          LogLevel ERROR

        """ + (forwardsAgent ? "  ForwardAgent yes\n" : "") + (forwardsX11 ? "  ForwardX11 yes\n" : "")
            + (controlPath.map { "  ControlPath \"\($0.replacing("%", with: "%%"))\"\n" } ?? "")
            + (forwardsX11Trusted ? "  ForwardX11Trusted yes\n" : "")
    }

    /// The ssh command that logs in once, runs a command and leaves. A script for it can be given on standard input.
    package static func command(file: String, host: String, run command: [String], connectTimeout: Int) -> Tool {
        // A login proves something only if it is one.
        Tool(
            "ssh",
            ["-F", file, "-o", "ControlPath=none", "-o", "ConnectTimeout=\(connectTimeout)", "-T", host, "--"] + command
        )
    }
}
