import HostModel

/// The keys of what happens inside the guest.
enum GuestKeys {
    static let plain = DefaultedKey("plain", .boolean, default: false, .guest, .start)
    static let message = DefaultedKey("message", .text, default: "", .agent, .live)

    static let env = Key("env", variables("variable", isName: isVariableName), .guest, .start)
    /// Lima's rule for names: a letter, then letters, digits and underscores.
    static let param = Key(
        "param", variables("parameter") { isVariableName($0) && $0.first != "_" }, .guest, .start)

    /// A mapping of names to one line of text each, in the order of the file.
    private static func variables(
        _ what: String, isName: @escaping @Sendable (String) -> Bool
    ) -> Form<[Configuration.Variable]> {
        Form("mapping of \(what) names to text", shape: .map) { value in
            value.entries().compactMap { name, value in
                guard let text = Form.line.read(value) else { return nil }
                guard isName(name) else {
                    value.fault("\(InstanceName.quoted(name)) is not a \(what)'s name")
                    return nil
                }
                return Configuration.Variable(name: name, value: text)
            }
        }
    }

    private static func isVariableName(_ name: String) -> Bool {
        !name.isEmpty && !(name.first?.isNumber ?? true)
            && name.utf8.allSatisfy { 65...90 ~= $0 || 97...122 ~= $0 || 48...57 ~= $0 || $0 == 95 }
    }

    static let propagateProxyEnv = DefaultedKey("propagateProxyEnv", .boolean, default: true, .guest, .start)
    static let upgradePackages = DefaultedKey("upgradePackages", .boolean, default: false, .guest, .start)

    static let timezone = Key<String>(
        "timezone",
        Form.line.map("time zone, such as Europe/Berlin") { text, value in
            // The names of the time zone database are relative paths.
            let parts = text.split(separator: "/", omittingEmptySubsequences: false)
            let isName = text.utf8.allSatisfy {
                48...57 ~= $0 || 65...90 ~= $0 || 97...122 ~= $0 || "/_+-".utf8.contains($0)
            }
            guard text.isEmpty || isName && !parts.contains("") else {
                value.expected("a time zone such as Europe/Berlin")
                return nil
            }
            return text
        }, .guest, .start, standard: "the host's")

    // MARK: Certificates

    private static let removeDefaults = DefaultedKey("removeDefaults", .boolean, default: false)
    private static let files = Key(
        "files", list(of: ImageKeys.hostPath), standard: "`[]`", merging: .unique)
    private static let certs = Key("certs", list(of: certificate), standard: "`[]`", merging: .unique)
    private static let certificate = Form.text.map("certificates in PEM") { text, value -> String? in
        guard text.contains("-----BEGIN CERTIFICATE-----"), text.contains("-----END CERTIFICATE-----") else {
            value.expected("a certificate in PEM, between BEGIN CERTIFICATE and END CERTIFICATE")
            return nil
        }
        return text
    }
    static let caCerts = Key<Configuration.Authorities>(
        "caCerts",
        .record([removeDefaults, files, certs]) { fields, _ in
            var authorities = Configuration.Authorities()
            authorities.removesDefaults = fields[removeDefaults]
            authorities.files = fields[files] ?? []
            authorities.certificates = fields[certs] ?? []
            return authorities
        }, .guest, .start, .partial("guests with cloud-init"))

    static let all: [any KeyDeclaration] = [
        ProvisioningKeys.provision, upgradePackages,
        ContainerdKeys.containerd,
        Key(
            "guestInstallPrefix", .unread("path"), .guest, .start,
            .noEffect("hostagent installs nothing in guests by itself")),
        ProvisioningKeys.probes,
        CopyKeys.copyToHost,
        message, env, param, propagateProxyEnv, caCerts, plain, timezone,
    ]
}
