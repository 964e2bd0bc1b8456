import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// The host goes down with guests that write. All are shut down at the same time, each within its grace, and in their
/// order.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .guestSlot)
struct ShutdownTests {
    /// The number of guests. `HOSTAGENT_GUESTS` can set more guests than two cores can handle in every run.
    private static var count: Int {
        ProcessInfo.processInfo.environment["HOSTAGENT_GUESTS"].flatMap { Int($0) } ?? 4
    }

    private func areRunning(_ lab: borrowing Lab) async throws -> Bool {
        try await lab.user("tester", "\(Lab.hostagent) list --format '{{.Status}}' | sort | uniq -c | xargs")
            .output == "\(Self.count) Running\n"
    }

    @Test func aHostThatGoesDownWithGuestsThatWrite() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "vm1")
            let names = (1...Self.count).map { "vm\($0)" }
            for name in names.dropFirst() { try await lab.tester("hostagent create --name \(name) mini") }
            // Two instances have an order. The others are independent of each other.
            try await lab.write("\(Lab.home)/vm2/hostagent.yaml", "after: [vm1]\n", owner: "tester")
            for name in names { try await lab.tester("hostagent autostart enable \(name)") }
            let order = try await lab.tester("systemctl --user show -P After lima-vm@vm2.service")
            #expect(order.contains("lima-vm@vm1.service"))
            try await lab.tester(
                names.map { "systemctl --user start --no-block lima-vm@\($0)" }.joined(separator: "; "))
            let up = try await eventually(within: 300) { try await areRunning(lab) }
            #expect(up)
            for cycle in Lab.Cycle.allCases {
                try await startWriting(names, lab)
                try await lab.reboot(by: cycle)
                let back = try await eventually(within: 300) { try await areRunning(lab) }
                #expect(back)
                #expect(try await lab.root("systemctl is-system-running").output == "running\n")
                for name in names { try await expectCleanEnd(of: name, lab) }
                try await expectOrder(lab)
            }
            try await lab.tester(names.map { "hostagent stop --force \($0)" }.joined(separator: "; "))
        }
    }

    /// Each guest counts, and every number is on its disk before it is printed.
    private func startWriting(_ names: [String], _ lab: borrowing Lab) async throws {
        let loop =
            "n=$(cat /data/c 2> /dev/null || echo 0); while :; do n=$((n+1)); echo $n > /data/c.new && sync && mv /data/c.new /data/c && sync && echo $n; done"
        for name in names {
            try await lab.tester(
                "rm -f ~/said-\(name); "
                    + "setsid env hostagent shell \(name) sh -c '\(loop)' > ~/said-\(name) 2> /dev/null < /dev/null & "
                    + "n=0; until [ -s ~/said-\(name) ] || [ $n -gt 100 ]; do sleep 0.1; n=$((n+1)); done")
        }
    }

    /// The run before the host went down ended with the guest's own shutdown, on request. No write is lost.
    private func expectCleanEnd(of name: String, _ lab: borrowing Lab) async throws {
        let said = try await lab.tester("tail -n 1 ~/said-\(name)").trimmed
        let kept = try await lab.tester("hostagent shell \(name) cat /data/c").trimmed
        #expect((Int(kept) ?? -1) >= (Int(said) ?? 0) && Int(said) ?? 0 > 0, "\(name): \(said), \(kept)")
        let log = try await lab.tester("hostagent shell \(name) sudo dmesg")
        #expect(!log.contains("recovery complete"), "\(name)")
        let last = try await lab.tester("cat ~/.lima/\(name)/ha.stdout.log.1").split(separator: "\n")
            .compactMap { EventRecord(line: $0.utf8) }
        #expect(last.last?.exitStatus == 3, "\(name)")
        let ended = last.last { $0.kind == "guest-ended" }
        #expect(ended?.step == .ask || ended?.step == .askAgain, "\(name): \(last.suffix(12))")
    }

    /// vm2 started after vm1 and stopped before it.
    private func expectOrder(_ lab: borrowing Lab) async throws {
        let ended = try await lab.tester("grep -h guest-ended ~/.lima/vm2/ha.stdout.log.1")
        let begun = try await lab.tester("grep -h stop-requested ~/.lima/vm1/ha.stdout.log.1")
        let (first, second) = (
            EventRecord(line: ended.trimmed.utf8)?.time, EventRecord(line: begun.trimmed.utf8)?.time
        )
        #expect(first.map { one in second.map { one <= $0 } ?? false } == true, "\(ended)\(begun)")
        let times = try await lab.tester(
            "for n in vm1 vm2; do systemctl --user show -P ActiveEnterTimestampMonotonic lima-vm@$n; "
                + "systemctl --user show -P ExecMainStartTimestampMonotonic lima-vm@$n; done | xargs")
        let numbers = times.split(separator: " ").compactMap { Int($0.filter(\.isNumber)) }
        #expect(numbers.count == 4 && numbers[3] >= numbers[0], "vm2 began once vm1 was ready: \(times)")
    }
}
