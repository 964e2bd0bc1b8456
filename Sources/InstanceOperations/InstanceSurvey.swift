import AgentAPI
import Foundation
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import NIOCore

/// What `list` shows for one instance. The keys are Lima's.
package struct InstanceRow: Codable, Sendable, Equatable {
    package var name: String
    package var hostname: String
    package var status: InstanceStatus
    package var dir: String
    package var vmType: String
    package var arch: String
    package var cpus: Int?
    /// Bytes.
    package var memory: Int?
    /// Bytes.
    package var disk: Int?
    package var message: String?
    package var sshLocalPort: Int?
    package var sshAddress: String?
    package var sshConfigFile: String?
    /// The account of the guest that people log in to.
    package var sshUser: String?
    package var hostAgentPID: Int32?
    package var driverPID: Int32?
    package var errors: [String]?
    package var protected: Bool
    /// What manages the instance's agent, if a manager started it.
    package var autoStartedIdentifier: String?
    /// The version of Lima that made the directory, or with which it was made.
    package var limaVersion: String?
    package var param: [String: String]?
    /// The configuration with its defaults, if it was asked for.
    package var config: ConfigurationDocument?

    package init(
        name: String, hostname: String, status: InstanceStatus, dir: String, vmType: String, arch: String,
        cpus: Int? = nil, memory: Int? = nil, disk: Int? = nil, sshLocalPort: Int? = nil, errors: [String]? = nil,
        protected: Bool
    ) {
        self.name = name
        self.hostname = hostname
        self.status = status
        self.dir = dir
        self.vmType = vmType
        self.arch = arch
        self.cpus = cpus
        self.memory = memory
        self.disk = disk
        self.sshLocalPort = sshLocalPort
        self.errors = errors
        self.protected = protected
    }
}

/// Determines the state of instances. Each gets a row, whatever is wrong with it, and none delays another.
package struct InstanceSurvey: Sendable {
    let context: OperationContext

    package init(context: OperationContext) { self.context = context }

    /// - Parameter withConfiguration: whether the rows have `config`.
    package func rows(
        _ directories: [InstanceDirectory], withConfiguration: Bool = false
    ) async -> [InstanceRow] {
        await withTaskGroup(of: (Int, InstanceRow).self) { group in
            for (index, directory) in directories.enumerated() {
                group.addTask { (index, await row(directory, withConfiguration)) }
            }
            var rows: [(Int, InstanceRow)] = []
            for await row in group { rows.append(row) }
            return rows.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    /// The row of an instance in another account's directory, read by a process of its owner.
    private func rowByOwner(_ directory: InstanceDirectory) async -> InstanceRow? {
        guard let owner = OwnerBoundary(directory, context) else { return nil }
        do {
            let line = try await owner.perform(["list", "--json", directory.name.text])
            return try JSONDecoder().decode(InstanceRow.self, from: Data(line.utf8))
        } catch {
            return InstanceRow(
                name: directory.name.text, hostname: "lima-\(directory.name)", status: .broken, dir: directory.path,
                vmType: "qemu", arch: Architecture.host.rawValue, errors: ["\(error)"], protected: false)
        }
    }

    private func row(_ directory: InstanceDirectory, _ withConfiguration: Bool) async -> InstanceRow {
        if let row = await rowByOwner(directory) { return row }
        var row = InstanceRow(
            name: directory.name.text, hostname: "lima-\(directory.name)", status: .stopped, dir: directory.path,
            vmType: "qemu", arch: Architecture.host.rawValue, protected: Files.kind(directory.protected) != nil)
        row.limaVersion = (try? TextFile.read(directory.limaVersion, limit: 256)).map(\.trimmed)
        do {
            let resolved = try Instance.resolved(directory)
            let configuration = try Instance(directory, resolved).configuration
            row.arch = configuration.architecture.rawValue
            row.cpus = configuration.cpus
            row.memory = configuration.memory
            // The image that the disk was made from may have been larger than the configuration says.
            row.disk = InstanceDisk.size(of: directory).map { max($0, configuration.disk) } ?? configuration.disk
            row.sshUser = configuration.user.name
            let parameters = configuration.parameters.map { ($0.name, $0.value) }
            row.param = parameters.isEmpty ? nil : Dictionary(parameters) { $1 }
            row.config = withConfiguration ? resolved.document : nil
            row.message = configuration.message.isEmpty ? nil : configuration.message
        } catch {
            row.status = .broken
            row.errors = [error.message]
        }
        await addState(to: &row, directory)
        return row
    }

    private func addState(to row: inout InstanceRow, _ directory: InstanceDirectory) async {
        let state = await state(of: directory)
        // An instance with unreadable files may still be running.
        let isBroken = row.status == .broken
        if !isBroken || state.info != nil || state.status == .orphaned { row.status = state.status }
        row.hostAgentPID = state.agentPID
        row.driverPID = state.guestPID
        if let info = state.info {
            row.sshLocalPort = info.sshLocalPort
            row.sshAddress = info.sshLocalPort == nil ? nil : "127.0.0.1"
            row.autoStartedIdentifier = info.autoStartedIdentifier
            row.sshConfigFile = info.sshLocalPort == nil ? nil : directory.sshConfiguration
        }
        if !isBroken || state.status != .failed { row.errors = (row.errors ?? []) + state.errors }
        if row.errors?.isEmpty == true { row.errors = nil }
    }

    /// The state of an instance, from its lock, its agent, its guest's process and its last run.
    struct State: Sendable {
        var status = InstanceStatus.stopped
        var errors: [String] = []
        /// The information of the agent, if one answers.
        var info: AgentInfo?
        var agentPID: Int32?
        var guestPID: Int32?

        var failure: String? { errors.last }
    }

    func states(_ directories: [InstanceDirectory]) async -> [State] {
        await withTaskGroup(of: (Int, State).self) { group in
            for (index, directory) in directories.enumerated() {
                group.addTask { (index, await state(of: directory)) }
            }
            var states = [State](repeating: State(), count: directories.count)
            for await (index, state) in group { states[index] = state }
            return states
        }
    }

    private func state(of directory: InstanceDirectory) async -> State {
        if let row = await rowByOwner(directory) {
            return State(
                status: row.status, errors: row.errors ?? [], agentPID: row.hostAgentPID, guestPID: row.driverPID)
        }
        do {
            guard try directory.isHeld() else {
                if let stranger = directory.stranger {
                    return State(
                        status: .running, errors: ["process \(stranger), which is not a hostagent, runs it"],
                        agentPID: stranger)
                }
                if let pid = context.orphan(directory) { return State(status: .orphaned, guestPID: pid) }
                return lastFailure(directory).map { State(status: .failed, errors: [$0]) } ?? State()
            }
            let info = try await AgentClient(socket: directory.agentSocket).info(patience: .milliseconds(1500))
            do {
                try info.requireAgent(of: directory)
            } catch {
                return State(status: .broken, errors: [error.message])
            }
            return State(
                status: info.state, errors: info.errors, info: info, agentPID: info.agentPID, guestPID: info.guestPID)
        } catch let error as HostError {
            guard (try? await staysHeld(directory)) != false else { return await state(of: directory) }
            // The holder of the lock does not answer. It has just begun, or it hangs.
            let wasUsable = lastRecord(directory)?.phase.isUsable ?? false
            return State(
                status: wasUsable ? .degraded : .starting, errors: [error.message],
                agentPID: directory.recordedAgentPID)
        } catch {
            return State(status: .starting, errors: ["\(error)"])
        }
    }

    /// Whether the lock of an agent that does not answer stays held. A child that an agent was starting when it was
    /// killed holds the lock until it runs its own program.
    private func staysHeld(_ directory: InstanceDirectory) async throws -> Bool {
        var backoff = Backoff(from: .milliseconds(5), to: .milliseconds(100))
        let deadline = ContinuousClock.now + .milliseconds(500)
        while ContinuousClock.now < deadline {
            try await backoff.pause()
            guard try directory.isHeld() else { return false }
        }
        return true
    }

    /// Why the last run gave up, if it did.
    private func lastFailure(_ directory: InstanceDirectory) -> String? {
        guard let record = lastRecord(directory), record.phase == .failed else { return nil }
        return record.status.errors?.last ?? "the last run failed"
    }

    private func lastRecord(_ directory: InstanceDirectory) -> EventRecord? {
        let line = TextFile.tail(directory.eventLog, count: 8192).split(separator: "\n").last
        return line.flatMap { EventRecord(line: $0.utf8) }
    }
}
