import HostModel
import HostOS

/// Makes launchd load a property list: the one place that removes an override, lets go of what was loaded before, and
/// bootstraps.
struct LaunchdLoading {
    /// `gui/501`, `user/501` or `system`.
    let domain: String
    let label: String
    let file: String
    /// Seconds that a job that is being ended may take.
    let patience: Int
    /// Whether to load a job that neither runs nor is about to. A login's job waits for the login.
    let loadsIdle: Bool

    /// Bootstraps that are tried, one a second. launchd refuses a bootstrap for some seconds after a job has gone, with
    /// the code for a job that is loaded (reported for macOS 12 to 26).
    private static let tries = 15

    /// The program for sh. Its arguments are the domain, the label, the file, the patience and "always" or nothing.
    ///
    /// launchd keeps the settings of a loaded job and the identity of its program (a replaced program with an ad-hoc
    /// signature is refused with OS_REASON_CODESIGNING), so a job that runs has to be loaded anew. Its agent is stopped
    /// by SIGSTOP, launchd sends it the SIGTERM of a bootout, and SIGKILL ends it before it can take that for a request
    /// to stop the guest. The guest runs on, and the new agent attaches to it.
    private static let script = #"""
        target=$1/$2
        print() { launchctl print "$target" 2> /dev/null; }
        value() { print | sed -n "s/^[[:space:]]*$1 = //p" | head -n 1; }
        launchctl enable "$target" || exit
        wanted=$5
        if print > /dev/null; then
            state=$(value state)
            case $state in
            SIGTERMed | SIGKILLed) ;;
            *)
                [ "$state" = "not running" ] || wanted=always
                agent=$(value pid)
                [ -z "$agent" ] || kill -STOP "$agent"
                launchctl bootout "$target"
                status=$?
                case $status in
                0 | 36) [ -z "$agent" ] || kill -KILL "$agent" ;;
                3) [ -z "$agent" ] || kill -CONT "$agent" ;;
                *)
                    [ -z "$agent" ] || kill -CONT "$agent"
                    exit $status
                    ;;
                esac
                ;;
            esac
            waited=0
            while print > /dev/null; do
                [ $waited -lt $(($4 * 5)) ] || exit 36
                waited=$((waited + 1))
                sleep 0.2
            done
        fi
        [ -n "$wanted" ] || exit 0
        try=1
        while :; do
            launchctl bootstrap "$1" "$3" && exit
            status=$?
            case $status in 5 | 37) ;; *) exit $status ;; esac
            # It is also a success if somebody else loaded the job meanwhile.
            case $(value state) in "" | SIGTERMed | SIGKILLed) ;; *) exit 0 ;; esac
            [ $try -lt $6 ] || exit $status
            try=$((try + 1))
            sleep 1
        done
        """#

    /// The arguments of `sh`.
    var arguments: [String] {
        ["-c", Self.script, "sh", domain, label, file, String(patience), loadsIdle ? "always" : "", String(Self.tries)]
    }
}

/// Loads a job by hand and makes it run now. launchd's refusals of a job that is busy are not final: the job is looked
/// at again until it runs or the time is over.
struct LaunchdStart {
    let launchctl: Launchctl
    let domain: String
    let label: String
    let file: String
    /// Seconds that a job that is being ended may take.
    let patience: Int

    private var target: String { "\(domain)/\(label)" }

    /// The time in seconds for launchd to accept a job that it does not have.
    private static let limit = 20
    /// The time in seconds for `kickstart`. It waits for the throttle, and was reported to block for minutes. launchd
    /// starts the job all the same.
    private static let kickstartLimit = 30

    /// - Throws: `HostError`; with `.notPermitted`, the hint is the command for a person with permission.
    func run() async throws {
        var backoff = Backoff(from: .milliseconds(100), to: .seconds(1), factor: 1.5)
        var deadline = ContinuousClock.now + .seconds(Self.limit)
        while true {
            let job = try await launchctl.printed(target)
            let lines: [[String]]
            switch job?.status.activity {
            case .active, .starting, .waiting: return
            case .stopping:
                try await launchctl.awaitGone(target, within: patience)
                deadline = ContinuousClock.now + .seconds(Self.limit)
                continue
            case .inactive, .failed: lines = [["kickstart", target]]
            // `disable` takes precedence over RunAtLoad and survives reboots. A start by hand always removes it.
            case nil: lines = [["enable", target], ["bootstrap", domain, file]]
            }
            do {
                for line in lines { try await perform(line) }
                return
            } catch let refusal as Launchctl.Refusal {
                if refusal.code == .notPermitted { throw notPermitted(lines) }
                guard refusal.isOfBusyJob, ContinuousClock.now < deadline else { throw refusal.error }
            }
            try await backoff.pause()
        }
    }

    private func perform(_ line: [String]) async throws {
        guard line[0] == "kickstart" else { return try await launchctl.run(line) }
        _ = try await withTimeLimit(.seconds(Self.kickstartLimit)) { [launchctl] in try await launchctl.run(line) }
    }

    private func notPermitted(_ lines: [[String]]) -> HostError {
        HostError(
            .notPermitted, "launchd does not let this account start \(label)",
            hint: lines.map { "sudo launchctl " + $0.joined(separator: " ") }.joined(separator: " && "))
    }
}
