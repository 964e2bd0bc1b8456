#!/bin/sh
# Mounts the host's directories that are not mounted: at every boot, and whenever the host asks for it. Reports each to the
# host. Needs the FIFO of stages as descriptor 5, and in the guest sshfs.
# Usage: mounts.sh [NUMBER], the mount whose server on the host is a new one.
files=${0%/*}
run=/run/hostagent
log=/var/log/hostagent-provision.log

# Two at once would mount everything twice.
exec 9> "$run/mounts.lock"
! command -v flock > /dev/null || flock 9

# report NUMBER REASON: tells the host that the mount cannot be made, in characters that a JSON string may contain.
report() {
    printf '{"type":"mount","mount":%s,"line":"%s"}\n' "$1" "$(printf '%s' "$2" | LC_ALL=C tr -cd '\040-\176' |
        cut -c 1-300 | LC_ALL=C sed -e 's/[\\"]/\\&/g')" >&5
}

# find_port NUMBER: the machine's port of this mount as $port, empty if there is none.
find_port() {
    port=
    for entry in /sys/class/virtio-ports/*; do
        [ -r "$entry/name" ] || continue
        read -r name < "$entry/name"
        [ "$name" != "io.hostagent.mount.$1" ] || port=/dev/${entry##*/}
    done
}

is_mounted() { grep -q "^hostagent:$number " /proc/mounts; }

# answers POINT: whether the host's server answers. Opening the directory asks it; what is remembered is not enough. While
# the host has no server, a request would wait for ever.
answers() { timeout -s KILL 5 sh -c ': < "$1"' sh "$1" 2> /dev/null; }

# leave NUMBER POINT: ends a mount that is of no use. Its client would keep the port.
leave() {
    umount -l "$2"
    [ ! -r "$run/mount.$1.pid" ] || kill -9 "$(cat "$run/mount.$1.pid")" 2> /dev/null
}

# have_sshfs: whether sshfs is there now. As with Lima, the guest's own packages provide it.
have_sshfs() {
    command -v sshfs > /dev/null && return
    echo '== sshfs' >> "$log"
    if command -v apt-get > /dev/null; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends sshfs ||
            { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends sshfs; }
    elif command -v dnf > /dev/null; then
        dnf install -y fuse-sshfs
    elif command -v apk > /dev/null; then
        apk update && apk add sshfs
    elif command -v pacman > /dev/null; then
        pacman -Syu --noconfirm sshfs
    elif command -v zypper > /dev/null; then
        zypper --non-interactive install sshfs
    fi < /dev/null >> "$log" 2>&1 5>&- 9>&-
    command -v sshfs > /dev/null
}

# mount_by_sshfs NUMBER OPTIONS POINT: sshfs speaks to the host's server over the port, and stays in the foreground.
mount_by_sshfs() {
    find_port "$1"
    [ -n "$port" ] || { report "$1" 'the machine has no port for it; it is there after the next start'; return; }
    have_sshfs || { report "$1" "there is no sshfs, and it could not be installed; see $log"; return; }
    modprobe -q fuse
    complaint=$run/mount.$1
    tries=0
    while :; do
        : > "$complaint"
        sshfs ":/mount" "$3" -o "passive,allow_other,fsname=hostagent:$1,$2" <> "$port" >&0 2> "$complaint" 5>&- 9>&- &
        client=$!
        echo "$client" > "$run/mount.$1.pid"
        while kill -0 "$client" 2> /dev/null; do
            # sshfs mounts first and asks the server then.
            if is_mounted; then
                if answers "$3"; then
                    printf '{"type":"mount","mount":%s,"as":"reverse-sshfs"}\n' "$1" >&5
                    return
                fi
                # It may have ended meanwhile, and be tried again.
                kill -0 "$client" 2> /dev/null || break
                leave "$1" "$3"
                report "$1" 'the server of the host does not answer'
                return
            fi
            sleep 0.05
        done
        ! is_mounted || umount -l "$3"
        # The host's server may begin a moment later.
        tries=$((tries + 1))
        [ "$tries" -lt 40 ] || break
        sleep 0.25
    done
    cat "$complaint" >> "$log"
    report "$1" "sshfs: $(tail -n 1 "$complaint")"
}

number=0
while read -r options point; do
    # The client of an earlier server cannot speak to a new one, and a mount whose server has gone away does not answer.
    if is_mounted && { [ "$number" = "${1:-}" ] || ! answers "$point"; }; then
        leave "$number" "$point"
    fi
    if ! is_mounted; then
        if mkdir -p "$point"; then
            mount_by_sshfs "$number" "$options" "$point"
        else
            report "$number" "the directory $point cannot be made"
        fi
    fi
    number=$((number + 1))
done < "$files/mounts"
