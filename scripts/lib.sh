# Shared by the scripts; sourced, not run.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*"; }

# die MESSAGE WHAT_TO_DO: prints both to stderr and ends the script.
die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    [ -n "${2:-}" ] && printf '  try: %s\n' "$2" >&2
    exit 1
}

# need COMMAND PACKAGE: ends the script unless the command exists.
need() { command -v "$1" > /dev/null || die "$1 is missing" "apt-get install $2"; }

# retry COMMAND...: tries a command up to three times. Used for commands that need the network.
retry() {
    local try
    for try in 1 2 3; do
        "$@" && return 0
        sleep "$try"
    done
    return 1
}
