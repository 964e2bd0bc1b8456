#!/bin/sh
# Lets programs that wait for changes (inotify(7)) know what the host has changed in one of its directories: each file gets
# the owner that it has, which its watchers are told. sshfs forgets then what it knew of the file. Answers the host when that
# is done. Needs the FIFO of stages as descriptor 5.
# Usage: changed.sh MESSAGE
field() {
    value=${1##*"\"$2\":"}
    value=${value#\"}
    value=${value%%[\",\}]*}
}
field "$1" mount && mount=$value
field "$1" owner && owner=$value
# A backslash stands doubled in JSON.
field "$1" paths && paths=$(printf '%b' "$value")

number=0
while read -r type options point; do
    [ "$number" -ne "$mount" ] || break
    number=$((number + 1))
done < "${0%/*}/mounts"

set -f --
for path in $paths; do
    # The shell would remove line ends from the end of the name.
    name=$(printf '%b.' "$path")
    set -- "$@" "$point/${name%.}"
done
# The wait for a server that has gone may have no end.
! grep -q "^hostagent:$mount " /proc/mounts || chown -h "$owner" "$@" 5>&-
printf '{"type":"changed","mount":%s}\n' "$mount" >&5
