import HostModel

/// Makes the files that a configuration names available on this host, from wherever they are.
package protocol SourceFileProvider: Sendable {
    /// Provides one file. A file that is downloaded is kept in a cache.
    /// - Parameters:
    ///   - what: what the file is for, in messages: `image`, `kernel`.
    ///   - limit: the size in bytes beyond which a download is refused; nil if any size is welcome.
    ///   - report: is called while the file is downloaded.
    /// - Throws: `HostError`: `.unavailable` if the file cannot be had, `.badConfiguration` if its content does not have
    ///   the expected digest, `.cannotCreate` if it cannot be kept; `CancellationError`.
    func provide(
        _ file: Configuration.SourceFile, what: String, limit: Int?, report: @escaping TransferProgress.Report
    ) async throws -> ProvidedFile

    /// The path of a file that needs no download: it is one of this host's, or it is cached with the expected digest.
    func present(_ file: Configuration.SourceFile) -> String?

    /// Removes what was downloaded, except from these addresses. What somebody uses at this moment is left alone.
    /// - Returns: what was removed.
    /// - Throws: `HostError`.
    func prune(keeping addresses: Set<String>) throws(HostError) -> [(address: String, bytes: Int)]
}

extension SourceFileProvider {
    package func provide(
        _ file: Configuration.SourceFile, what: String, report: @escaping TransferProgress.Report
    ) async throws -> ProvidedFile {
        try await provide(file, what: what, limit: nil, report: report)
    }
}

/// A file of this host whose content was checked.
package struct ProvidedFile: Sendable {
    package let path: String
    /// The digest of a file that was downloaded.
    package let digest: Configuration.Digest?
    /// Keeps the file from being replaced or removed while this value exists.
    private let hold: (any AnyObject & Sendable)?

    package init(path: String, digest: Configuration.Digest?, hold: (any AnyObject & Sendable)?) {
        self.path = path
        self.digest = digest
        self.hold = hold
    }
}
