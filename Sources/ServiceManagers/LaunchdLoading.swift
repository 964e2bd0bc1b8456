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

    /// The program for sh. Its arguments are the domain, the label, the file, the patience, "load" or nothing, and the
    /// number of tries. Its last line of output is an `Outcome`, or "failed" and the step that failed.
    ///
    /// launchd keeps the settings of a loaded job and the identity of its program (a replaced program with an ad-hoc
    /// signature is refused with OS_REASON_CODESIGNING), so a job that runs has to be loaded anew. Its agent is stopped
    /// by SIGSTOP, launchd sends it the SIGTERM of a bootout, which stays pending, and SIGKILL ends it before it can take
    /// that for a request to stop the guest. The guest runs on, and the new agent attaches to it. Nothing interrupts this
    /// program, and a stopped agent is continued in every case in which it is not ended.
    private static let script = #"""
        trap '' HUP INT TERM
        target=$1/$2
        frozen= outcome=idle load=$5
        print() { launchctl print "$target" 2> /dev/null; }
        field() { printf '%s\n' "$2" | sed -n "s/^[[:space:]]*$1 = //p" | head -n 1; }
        began() { ps -o lstart= -p "$1" 2> /dev/null; }
        fail() {
            [ $outcome != reloaded ] || echo orphaned
            echo "failed $1"
            exit "$2"
        }
        trap '[ -z "$frozen" ] || kill -CONT "$frozen"' EXIT
        launchctl enable "$target" || fail enable $?
        if job=$(print); then
            state=$(field state "$job")
            agent=$(field pid "$job")
            case $state in
            SIGTERMed | SIGKILLed) ;;
            *)
                [ "$state" = "not running" ] && [ -z "$agent" ] || load=load
                if [ -n "$agent" ]; then
                    time=$(began "$agent")
                    kill -STOP "$agent" && frozen=$agent
                fi
                launchctl bootout "$target"
                status=$?
                case $status in
                0 | 36)
                    # launchd may have started the job that it had scheduled in this very moment.
                    if [ -z "$agent" ]; then
                        agent=$(field pid "$(print)")
                        time=$(began "${agent:-0}")
                    fi
                    if [ -n "$agent" ] && [ "$(began "$agent")" = "$time" ]; then kill -KILL "$agent"; fi
                    frozen=
                    [ -z "$load" ] || outcome=reloaded
                    ;;
                3 | 113) ;;
                *) fail bootout $status ;;
                esac
                ;;
            esac
            waited=0
            while print > /dev/null; do
                [ $waited -lt $(($4 * 5)) ] || fail wait 1
                waited=$((waited + 1))
                sleep 0.2
            done
        fi
        if [ -z "$load" ]; then
            echo idle
            exit 0
        fi
        [ $outcome = reloaded ] || outcome=loaded
        try=1
        until launchctl bootstrap "$1" "$3"; do
            status=$?
            case $status in 5 | 37) ;; *) fail bootstrap $status ;; esac
            # It is also a success if somebody else loaded the job meanwhile.
            case $(field state "$(print)") in "" | SIGTERMed | SIGKILLed) ;; *) break ;; esac
            [ $try -lt $6 ] || fail bootstrap $status
            try=$((try + 1))
            sleep 1
        done
        echo $outcome
        """#

    /// What became of the job.
    enum Outcome: String {
        /// It is not loaded, and waits for the login.
        case idle
        case loaded
        /// It ran, and was loaded anew.
        case reloaded
    }

    /// Why a job is not loaded.
    struct Failure: Error {
        let error: HostError
        /// Whether its agent was ended and no other one was started.
        let leavesGuestAlone: Bool

        /// The error, with what it means for the guest.
        var explained: HostError {
            guard leavesGuestAlone else { return error }
            return HostError(
                error.code, error.message + "; its guest runs on without an agent",
                hint: "hostagent start gives it an agent, autostart enable tries again")
        }
    }

    /// Runs the program.
    /// - Parameter privileged: makes a helper that runs as root; nil for a job of this account's own session.
    /// - Throws: `Failure`, or `HostError` if there is no sh.
    func run(privileged: ((String, [String]) -> Tool)?) async throws -> Outcome {
        let arguments = [
            "-c", Self.script, "sh", domain, label, file, String(patience), loadsIdle ? "load" : "", String(Self.tries),
        ]
        var tool = privileged?("sh", arguments) ?? Tool("sh", arguments)
        // A closed terminal must not interrupt it. sudo asks for a password on the terminal of its own session.
        tool.ownSession = privileged == nil
        let result = try await tool.run()
        let lines = result.output.split(separator: "\n").map(String.init)
        if result.succeeded, let outcome = lines.last.flatMap(Outcome.init(rawValue:)) { return outcome }
        throw Failure(error: error(result, lines.last), leavesGuestAlone: lines.contains("orphaned"))
    }

    private func error(_ result: Tool.Result, _ line: String?) -> HostError {
        let step = line.flatMap { $0.hasPrefix("failed ") ? String($0.dropFirst("failed ".count)) : nil }
        switch step {
        case "wait":
            return HostError(
                .failed, "launchd still has \(domain)/\(label), \(patience) s after it was told to let it go",
                hint: "launchctl print \(domain)/\(label) says what it is doing")
        case let step?:
            let subject = step == "bootstrap" ? [domain, file] : ["\(domain)/\(label)"]
            return Launchctl.Refusal(line: [step] + subject, result: result).error
        case nil:
            return HostError(
                result.complaint.hasPrefix("sudo:") ? .notPermitted : .failed,
                "launchd was not told to load \(file): \(result.complaint)")
        }
    }
}
