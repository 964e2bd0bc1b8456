import HostModel
import HostOS
import LimaConfiguration

/// Makes the disk, kernel and initrd of a guest in its directory, from the images that its configuration names. Existing
/// files are left alone, so the same code serves `create` and the first start of a directory that Lima made.
package struct Preparation: Sendable {
    private let configuration: Configuration
    private let provider: any SourceFileProvider
    /// What the instance was made from before.
    private let sources: [Settings.Source]

    /// - Parameters:
    ///   - sources: what `hostagent.yaml` says that the instance was made from.
    ///   - provider: gets the files.
    package init(
        _ configuration: Configuration, sources: [Settings.Source] = [], provider: any SourceFileProvider
    ) {
        self.configuration = configuration
        self.sources = sources
        self.provider = provider
    }

    /// Checks what can be checked before anything is made: the first image, if it is a file of this host.
    /// - Returns: the addresses that have to be downloaded.
    /// - Throws: `HostError` for a file that is missing, damaged or not the expected one.
    package func check() async throws -> [String] {
        guard let image = candidates.first else { return [] }
        var addresses: [String] = []
        for (file, what) in Self.files(of: image) {
            if case .address(let address) = file.location {
                if provider.present(file) == nil { addresses.append(address) }
                continue
            }
            let path = try await provider.provide(file, what: what) { _ in }.path
            if file == image.disk, try compression(of: path) == nil {
                try await ImageCheck(path: path, origin: path).run()
            }
        }
        return addresses
    }

    /// Makes the files that are missing, from the first image that can be had, and records which one that was.
    /// - Throws: `HostError`; `.cannotCreate` for a full disk and similar failures; `CancellationError`.
    package func make(in directory: InstanceDirectory, report: @escaping TransferProgress.Report) async throws {
        if let disk = try InstanceDisk(directory) {
            try await disk.grow(to: configuration.disk, base: directory.baseDisk)
            // The disk may be all that is left, or all that Lima made.
            let image = configuration.image(madeFrom: sources)
            return try await makeKernel(
                of: image, try await provideKernel(of: image, in: directory, report), in: directory)
        }
        // A console log means that the guest has run before. Its disk was moved away, or a volume is missing.
        if [directory.serialLog, directory.serialLog + ".1"].contains(where: { Files.kind($0) != nil }) {
            throw HostError(
                .badConfiguration, "the disk \(directory.disk) is gone, and this instance has run already",
                hint: "put it back; to begin with an empty disk: hostagent factory-reset \(directory.name)")
        }
        var failures: [HostError] = []
        for image in candidates {
            do {
                return try await make(image, in: directory, report)
            } catch let error as HostError where error.code != .cannotCreate {
                failures.append(error)
            }
        }
        throw Self.failure(of: failures)
    }

    /// The images that are tried, in this order. One that the instance was made from already is the only one.
    private var candidates: [Configuration.Image] {
        let known = configuration.images.filter { image in
            sources.contains { $0.location == image.disk.location.description }
        }
        return known.isEmpty ? configuration.images : [known[0]]
    }

    private static func failure(of failures: [HostError]) -> HostError {
        if failures.count == 1 { return failures[0] }
        let code = failures.first.map { first in failures.allSatisfy { $0.code == first.code } ? first.code : nil }
        return HostError(
            (code ?? nil) ?? .unavailable,
            "none of the \(failures.count) images can be used:"
                + failures.map { "\n- \($0.message)" }.joined(),
            hint: failures.first?.hint)
    }

    // MARK: One image

    private static func files(of image: Configuration.Image) -> [(file: Configuration.SourceFile, what: String)] {
        [(image.disk, "image")] + (image.directBoot.map { [($0.kernel, "kernel")] } ?? [])
            + (image.directBoot?.initrd.map { [($0, "initrd")] } ?? [])
    }

    private func make(
        _ image: Configuration.Image, in directory: InstanceDirectory, _ report: @escaping TransferProgress.Report
    ) async throws {
        // Everything is fetched before anything is made. What a run that was interrupted has made may be of another image.
        for file in [directory.kernel, directory.initrd] { try? Files.remove(file) }
        let disk = try await provide(image.disk, "image", report)
        let kernel = try await provideKernel(of: image, in: directory, report)
        // What can be wrong with an image shows here, before anything of it is there.
        try await makeBase(disk.path, origin: image.disk.location.description, in: directory)
        try await makeKernel(of: image, kernel, in: directory)
        let provided = [disk, kernel.kernel, kernel.initrd].compactMap { $0 }
        // The disk comes last. When it is there, the choice of the image is on record.
        try record(
            zip(Self.files(of: image), provided).map { named, provided in
                Settings.Source(location: named.file.location.description, digest: provided.digest)
            }, in: directory)
        try await makeDisk(in: directory)
    }

    /// Copies the archive with containerd into the directory, if the guest gets one.
    package func makeContainerd(
        in directory: InstanceDirectory, report: @escaping TransferProgress.Report
    ) async throws {
        guard let archive = configuration.containerd?.archive else { return }
        let source = "\(archive.location) \(archive.digest.map { "\($0)" } ?? "")\n"
        let isThere = Files.kind(directory.containerdArchive) == .regular
        if isThere, (try? TextFile.read(directory.containerdSource, limit: 8192)) == source { return }
        let provided = try await provide(archive, "containerd archive", report)
        do {
            try? Files.remove(directory.containerdSource)
            try Files.remove(directory.containerdArchive)
            try await making(directory.containerdArchive) { try Files.copy(provided.path, to: $0) }
            try TextFile.replace(directory.containerdSource, with: source)
        } catch let error as SystemCallError {
            throw Self.failure(directory.containerdArchive, error)
        }
    }

    private struct ProvidedKernel {
        var kernel: ProvidedFile?
        var initrd: ProvidedFile?
    }

    /// Gets what is missing in the directory. What is there does not depend on where it came from any more.
    private func provideKernel(
        of image: Configuration.Image, in directory: InstanceDirectory, _ report: @escaping TransferProgress.Report
    ) async throws -> ProvidedKernel {
        guard let direct = image.directBoot else { return ProvidedKernel() }
        var provided = ProvidedKernel()
        if Files.kind(directory.kernel) == nil {
            provided.kernel = try await provide(direct.kernel, "kernel", report)
        }
        if let initrd = direct.initrd, Files.kind(directory.initrd) == nil {
            provided.initrd = try await provide(initrd, "initrd", report)
        }
        return provided
    }

    /// Gets a file. What was downloaded without a digest before must have the bytes of that time.
    private func provide(
        _ file: Configuration.SourceFile, _ what: String, _ report: @escaping TransferProgress.Report
    ) async throws -> ProvidedFile {
        let pinned = sources.first { $0.location == file.location.description }?.digest
        guard file.digest == nil, let pinned else {
            return try await provider.provide(file, what: what, report: report)
        }
        do {
            let pinnedFile = Configuration.SourceFile(location: file.location, digest: pinned)
            return try await provider.provide(pinnedFile, what: what, report: report)
        } catch let error as HostError where error.code == .badConfiguration {
            throw HostError(
                .badConfiguration, "\(file.location) is not what this instance was made from: \(error.message)",
                hint: "to accept the new bytes, remove its entry under sources in hostagent.yaml")
        }
    }

    private func makeKernel(
        of image: Configuration.Image, _ provided: ProvidedKernel, in directory: InstanceDirectory
    ) async throws {
        guard let direct = image.directBoot else { return }
        if let kernel = provided.kernel {
            // A compressed kernel is expanded, because that is slow in an emulated guest.
            try await making(directory.kernel) { try await copy(kernel.path, to: $0) }
        }
        if let initrd = provided.initrd {
            try await making(directory.initrd) { temporary in try Files.copy(initrd.path, to: temporary) }
        }
        do throws(SystemCallError) {
            try TextFile.replace(directory.kernelCommandLine, with: direct.commandLine + "\n")
        } catch {
            throw Self.failure(directory.kernelCommandLine, error)
        }
    }

    /// Makes a copy of the image. Changing or replacing the image later does not affect the disks made from it. The copy
    /// shares extents with the image if the file system supports that. The copy is checked, not the image: nobody can
    /// change it in between.
    private func makeBase(_ image: String, origin: String, in directory: InstanceDirectory) async throws {
        try await making(directory.baseDisk) { temporary in
            if try compression(of: image) == nil, let form = Compression.named(by: origin) {
                throw HostError(
                    .badConfiguration, "the image \(origin) is not compressed by \(form.rawValue), as its name says",
                    hint: "get the file again, or correct its name")
            }
            try await copy(image, to: temporary)
            try await ImageCheck(path: temporary, origin: origin).run()
        }
    }

    /// Makes a copy-on-write disk over the base.
    private func makeDisk(in directory: InstanceDirectory) async throws {
        let format = try DiskFormat.of(directory.baseDisk)
        let imageSize = format.virtualSize(of: directory.baseDisk)
        try await making(directory.disk) { temporary in
            // qemu-img looks for the base beside the disk, so that the whole directory can be moved.
            let create = [
                "create", "-q", "-f", "qcow2", "-b", "basedisk", "-F", format.name, temporary,
                String(max(configuration.disk, imageSize)),
            ]
            let result = try await Tool("qemu-img", create).run()
            guard result.succeeded else {
                throw HostError(
                    .cannotCreate, "cannot make \(directory.disk): qemu-img said: \(result.complaint)",
                    hint: "is there room on the disk, and may you write there?")
            }
        }
    }

    private func compression(of path: String) throws(HostError) -> Compression? {
        do {
            return try Compression.of(path)
        } catch {
            throw HostError(.notPermitted, "cannot read \(path): \(error.reason)")
        }
    }

    /// Copies a file, expanded if it is compressed.
    private func copy(_ source: String, to destination: String) async throws {
        if let compression = try compression(of: source) {
            try await compression.expand(source, to: destination)
        } else {
            try Files.copy(source, to: destination)
        }
    }

    // MARK: The record

    /// Notes in `hostagent.yaml` what the instance was made from: the digests of downloads, and the choice among several
    /// images.
    private func record(_ made: [Settings.Source], in directory: InstanceDirectory) throws(HostError) {
        guard sources.isEmpty, made.contains(where: { $0.digest != nil }) || configuration.images.count > 1 else {
            return
        }
        let text = try TextFile.configuration(directory.settings) ?? ""
        do {
            try TextFile.replace(directory.settings, with: Settings.recording(made, in: text))
        } catch {
            throw Self.failure(directory.settings, error)
        }
    }

    /// - Throws: `HostError` that names the file. Nothing is left behind in that case.
    private func making(_ path: String, _ make: (String) async throws -> Void) async throws {
        do {
            try await TemporaryName.making(path, make)
        } catch let error as SystemCallError {
            throw Self.failure(path, error)
        }
    }

    private static func failure(_ path: String, _ error: SystemCallError) -> HostError {
        HostError(
            .cannotCreate, "cannot make \(path): \(error.reason)",
            hint: error.isFull ? "make room on that disk" : nil)
    }
}
