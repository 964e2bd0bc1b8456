import HostModel

/// The keys of files that are copied from the guest to the host.
enum CopyKeys {
    private static let guest = Key(
        "guest",
        Form.guestTemplate.map("absolute path, template") { text, value -> String? in
            guard text.hasPrefix("/"), !text.contains("\0") else {
                value.expected("an absolute path in the guest")
                return nil
            }
            return text
        })
    private static let host = Key<String>(
        "host",
        HostPath.form.map("absolute path, template of the host") { path, value in
            guard path.hasPrefix("/") || HostPath.isInDirectory(path) else {
                value.expected("an absolute path of a file, or one that begins with {{.Dir}} or {{.Home}}")
                return nil
            }
            return path
        })
    private static let skipIfMissing = DefaultedKey("skipIfMissing", .boolean, default: false)
    private static let deleteOnStop = DefaultedKey("deleteOnStop", .boolean, default: false)

    private static let copy = Form<Configuration.HostCopy>.record(
        [guest, host, skipIfMissing, deleteOnStop], named: "copies"
    ) { fields, value in
        for key in [guest, host] where fields.given(key) == nil {
            value.fault("\(key.name): missing; expected a path")
        }
        guard let from = fields[guest], let to = fields[host] else { return nil }
        return .init(
            guestPath: from, hostTemplate: to, skipsMissing: fields[skipIfMissing],
            isRemovedAtStop: fields[deleteOnStop])
    }

    static let copyToHost = Key("copyToHost", list(of: copy), .agent, .start, standard: "`[]`")
}

extension Configuration {
    /// A file of the guest that is copied to the host when the guest is ready.
    package struct HostCopy: Sendable, Equatable {
        package var guestPath: String
        fileprivate var hostTemplate: String
        /// Whether it is no mistake if the guest has no such file.
        package var skipsMissing: Bool
        /// Whether the copy is removed when the guest stops.
        package var isRemovedAtStop: Bool

        /// - Parameter directory: the instance's.
        package func hostPath(in directory: String) -> String {
            HostPath.expanded(hostTemplate, in: directory)
        }
    }
}
