import HostModel
import HostOS
import LimaConfiguration

/// The files that guests are made from: those of this host, and those of the web, which are kept in Lima's cache. Several
/// processes may use the cache at once. Of those that want one file, one downloads it and the others wait.
package struct ImageCache: SourceFileProvider {
    private let directory: String
    private let transport: HTTPTransport

    /// - Parameters:
    ///   - environment: the variables of this process. `XDG_CACHE_HOME` moves the cache as it moves Lima's.
    ///   - version: of this program, for servers.
    package init(environment: [String: String], version: String) {
        self.init(
            directory: Self.directory(environment),
            transport: HTTPTransport(environment: environment, userAgent: "hostagent/\(version)"))
    }

    package init(directory: String, transport: HTTPTransport) {
        self.directory = directory
        self.transport = transport
    }

    /// Lima's cache directory: that of Go's `os.UserCacheDir`, and `lima` in it.
    private static func directory(_ environment: [String: String]) -> String {
        let home = environment["HOME"].flatMap { $0.isEmpty ? nil : $0 } ?? HostProcess.account?.home ?? "/"
        if HostProcess.hasLaunchd { return home + "/Library/Caches/lima" }
        let given = environment["XDG_CACHE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
        return (given ?? home + "/.cache") + "/lima"
    }

    // MARK: Providing

    package func present(_ file: Configuration.SourceFile) -> String? {
        switch file.location {
        case .file(let path): return Files.kind(path) == .regular ? path : nil
        case .address(let address):
            let entry = CacheEntry(cache: directory, address: address)
            guard let digest = file.digest, entry.isComplete, entry.recordedDigest(digest.algorithm) == digest else {
                return nil
            }
            return entry.data
        }
    }

    package func provide(
        _ file: Configuration.SourceFile, what: String, limit: Int?, report: @escaping TransferProgress.Report
    ) async throws -> ProvidedFile {
        switch file.location {
        case .file(let path):
            try checkLocal(path, file.digest, what)
            return ProvidedFile(path: path, digest: nil, hold: nil)
        case .address(let text):
            guard let address = WebAddress(text) else {
                throw HostError(.badConfiguration, "the \(what) \(InstanceName.quoted(text)) is not a web address")
            }
            return try await download(address, expected: file.digest, limit, what, report)
        }
    }

    private func checkLocal(_ path: String, _ expected: Configuration.Digest?, _ what: String) throws(HostError) {
        guard Files.kind(path) == .regular else {
            throw HostError(
                .unavailable, "the \(what) \(path) does not exist",
                hint: Self.hint(for: path) ?? "correct the location in lima.yaml, or put the file there")
        }
        guard let expected else { return }
        let found: Configuration.Digest
        do {
            found = try StreamDigest.ofFile(path, expected.algorithm)
        } catch {
            throw HostError(.notPermitted, "cannot read \(path): \(error.reason)")
        }
        guard found == expected else {
            throw HostError(
                .badConfiguration,
                "the \(what) \(path) has the \(found.algorithm.rawValue) digest \(found.hex), not \(expected.hex)",
                hint: "get the file again, or correct the digest in lima.yaml")
        }
    }

    private static func hint(for path: String) -> String? {
        if path.hasSuffix("/mini/disk.qcow2") { return "scripts/build-mini-guest builds it" }
        if path.hasSuffix("/debian/disk.qcow2") { return "scripts/build-debian-guest builds it" }
        return nil
    }

    package func prune(keeping addresses: Set<String>) throws(HostError) -> [(address: String, bytes: Int)] {
        let entries = CacheEntry.entries(of: directory)
        let kept = Set(addresses.map { CacheEntry(cache: directory, address: $0).directory })
        var removed: [(address: String, bytes: Int)] = []
        do {
            for name in Files.kind(entries) == nil ? [] : try Files.names(in: entries) where CacheEntry.isName(name) {
                let entry = CacheEntry(directory: entries + "/" + name)
                guard !kept.contains(entry.directory),
                    let lock = try DirectoryLock.acquire(path: entry.directory)
                else { continue }
                let address = (try? TextFile.read(entry.url, limit: 1 << 16)) ?? name
                let bytes = [entry.data, entry.part].reduce(0) { $0 + (Files.size($1) ?? 0) }
                try Files.remove(entry.directory)
                lock.release()
                removed.append((address, bytes))
            }
        } catch {
            throw HostError(.notPermitted, "cannot empty the cache \(entries): \(error)")
        }
        return removed
    }

    // MARK: Downloading

    /// A lock on an entry, for as long as somebody refers to it.
    private final class Hold: Sendable {
        let lock: DirectoryLock
        init(_ lock: consuming DirectoryLock) { self.lock = lock }
    }

    private func download(
        _ address: WebAddress, expected: Configuration.Digest?, _ limit: Int?, _ what: String,
        _ report: @escaping TransferProgress.Report
    ) async throws -> ProvidedFile {
        let entry = CacheEntry(cache: directory, address: address.text)
        do {
            var waits = 0
            while true {
                // Another command may have emptied the cache meanwhile.
                try Files.makeDirectory(entry.directory)
                let exclusive: DirectoryLock?
                do throws(SystemCallError) {
                    exclusive = try DirectoryLock.acquire(path: entry.directory)
                } catch {
                    if error.isMissing { continue }
                    throw error
                }
                if let exclusive {
                    let hold = Hold(exclusive)
                    let digest = try await current(entry, address, expected, limit, report)
                    // Others may read the file at the same time. Somebody may take the lock at the moment in between.
                    guard try hold.lock.share() else { continue }
                    return ProvidedFile(path: entry.data, digest: digest, hold: hold)
                }
                // If the lock can be shared, those who hold it read the file, and have just asked the server for it.
                if let lock = try DirectoryLock.acquire(path: entry.directory, shared: true) {
                    let hold = Hold(lock)
                    if let digest = try entry.usableDigest(expected) {
                        return ProvidedFile(path: entry.data, digest: digest, hold: hold)
                    }
                    // Theirs is another file, which must not be replaced while they read it. This process may be among
                    // them, so the wait has an end.
                    waits += 1
                    if waits > transport.limits.waitsForReaders {
                        throw HostError(
                            .held, "\(address) is in use with another digest than the one that is expected",
                            hint: "is the same address given with two digests?")
                    }
                }
                // The progress of the process that downloads is shown. Its file has to be looked at for that, so the
                // lock is tried again at the same moments.
                report(
                    TransferProgress(
                        address: address.description, received: Files.size(entry.part) ?? 0,
                        total: entry.partialDownload?.total, state: .followed))
                try await Task.sleep(for: .milliseconds(200))
            }
        } catch let unreachable as Transfer.Unreachable {
            throw unreachable.error
        } catch let error as SystemCallError {
            throw HostError(
                .cannotCreate, "cannot keep the \(what) \(address) in \(entry.directory): \(error.reason)",
                hint: error.isFull ? "make room on that disk" : "set XDG_CACHE_HOME to a directory you may write")
        }
    }

    /// Brings the entry up to date. The caller holds its lock.
    private func current(
        _ entry: CacheEntry, _ address: WebAddress, _ expected: Configuration.Digest?, _ limit: Int?,
        _ report: @escaping TransferProgress.Report
    ) async throws -> Configuration.Digest {
        if expected != nil, let cached = try entry.usableDigest(expected) { return cached }
        let transfer = Transfer(
            address: address, entry: entry, transport: transport, expected: expected, limit: limit,
            report: report)
        guard let expected else {
            let known = entry.isComplete ? entry.lastModified : nil
            do {
                if let digest = try await transfer.run(unlessModifiedSince: known) { return digest }
            } catch let unreachable as Transfer.Unreachable where entry.isComplete {
                let error = unreachable.error
                let size = Files.size(entry.data) ?? 0
                report(
                    TransferProgress(
                        address: address.description, received: size, total: size,
                        state: .unconfirmed(reason: error.message)))
            }
            guard let digest = try entry.usableDigest(nil) else {
                throw HostError(.unavailable, "\(entry.data) has gone; somebody emptied the cache", hint: "try again")
            }
            return digest
        }
        let continued = entry.partialDownload != nil
        var found = try await transfer.run()
        if continued, found != expected {
            // The beginning may be that of another file, although the server could not tell.
            found = try await transfer.run()
        }
        guard found == expected else {
            throw HostError(
                .badConfiguration,
                "\(address) has the \(expected.algorithm.rawValue) digest \(found?.hex ?? ""), not \(expected.hex)",
                hint: "the file was changed or damaged; correct the digest, or use another address")
        }
        return expected
    }
}
