import HostModel
import HostOS

/// How to reach a guest with the host's own ssh(1): `ssh -F ssh.config lima-NAME`.
package struct SSHConfiguration: Sendable, Equatable {
    package var host: String
    package var identityFile: String
    package var user: String
    package var port: Int

    package init(instance: InstanceName, identityFile: String, user: String, port: Int) {
        host = "lima-\(instance)"
        self.identityFile = identityFile
        self.user = user
        self.port = port
    }

    /// The text of `ssh.config` (ssh_config(5)). The guest is at the end of a port of the loopback address that only
    /// QEMU listens on, and makes its host key itself: there is nothing to compare the key with.
    /// - Throws: `HostError` with `.usage` where the key's path cannot stand in quotation marks.
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
          BatchMode yes
          LogLevel ERROR

        """
    }

    /// The arguments of ssh that log in once, run a script given on standard input with `shell`, and leave.
    package static func command(file: String, host: String, run command: [String], connectTimeout: Int) -> Tool {
        Tool("ssh", ["-F", file, "-o", "ConnectTimeout=\(connectTimeout)", "-T", host, "--"] + command)
    }
}
