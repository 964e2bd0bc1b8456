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

# As in mounts.sh: number, type, options, mount point.
list=${0%/*}/mounts
[ ! -e /run/hostagent/mounts ] || list=/run/hostagent/mounts
while read -r number type options point; do
    [ "$number" -ne "$mount" ] || [ "$type" = none ] || break
done < "$list"

# tell DIRECTORY NAME…: lets the watchers of these entries know. A link that somebody has put in the place of a directory, and
# a mount within this one, lead to files that the host knows nothing of.
tell() {
    [ $# -gt 1 ] || return
    (
        cd -P "$point" && cd -P "./$1" || exit
        shift
        if [ -z "$(stat -c %d . "$@" 2> /dev/null | grep -vx "$device")" ]; then
            chown -h "$owner" "$@"
        else
            for entry; do
                [ -n "$(stat -c %d . "$entry" 2> /dev/null | grep -vx "$device")" ] || chown -h "$owner" "$entry"
            done
        fi
    ) 5>&-
}

# The wait for a server that has gone may have no end.
if [ -n "$point" ] && grep -q "^hostagent:$mount " /proc/mounts; then
    device=$(stat -c %d "$point" 5>&-)
    directory=
    set -f --
    for path in $paths; do
        # The shell would remove line ends from the end of the name.
        name=$(printf '%b.' "$path")
        name=${name%.}
        case $name in
        */*) parent=${name%/*} ;;
        *) parent=. ;;
        esac
        if [ "$parent" != "$directory" ]; then
            tell "$directory" "$@"
            directory=$parent
            set --
        fi
        set -- "$@" "./${name##*/}"
    done
    tell "$directory" "$@"
fi
printf '{"type":"changed","mount":%s}\n' "$mount" >&5
