import HostModel

/// The server of one mount, of whichever type. It is confined to the directory.
package struct MountServer: Sendable {
    let mount: Mount
    let log: String
    let searchPath: String?

    /// - Parameters:
    ///   - log: the server's complaints go there. That it has this file open shows whose server it is.
    ///   - searchPath: the value of `PATH`.
    package init(_ mount: Mount, log: String, searchPath: String?) {
        self.mount = mount
        self.log = log
        self.searchPath = searchPath
    }
}
