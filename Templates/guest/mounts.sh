#!/bin/sh
# Mounts the host's directories that are not mounted, and unmounts those that the host has taken away: at every boot, and
# whenever the host asks for it. Reports each to the host. Needs the FIFO of stages as descriptor 5, and in the guest sshfs or virtiofs.
# Usage: mounts.sh [NUMBER], only the mount of this number, whose server on the host is another one than before. Servers by
# virtiofs cannot be replaced, so it is one by reverse-sshfs.
files=${0%/*}
run=/run/hostagent
log=/var/log/hostagent-provision.log
# Seconds that the host's server has for an answer.
patience=5

# Two at once would be in each other's way. Not every guest has flock(1). The lock is a link to the number of its owner.
lock=$run/mounts.lock
until ln -s "$$" "$lock" 2> /dev/null; do
    owner=$(readlink "$lock")
    if [ -n "$owner" ] && ! kill -0 "$owner" 2> /dev/null; then rm -f "$lock"; else sleep 0.1; fi
done
trap 'rm -f "$lock"' EXIT

# report NUMBER REASON [TYPE]: tells the host that the mount cannot be made, or not as this type, in characters that a JSON
# string may contain.
report() {
    printf '{"type":"mount","mount":%s%s,"line":"%s"}\n' "$1" "${3:+,\"as\":\"$3\"}" "$(printf '%s' "$2" |
        LC_ALL=C tr -cd '\040-\176' | cut -c 1-300 | LC_ALL=C sed -e 's/[\\"]/\\&/g')" >&5
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

# within_patience COMMAND…: runs a command that may wait for ever for a server that has gone, and perhaps cannot even be killed
# then, so that nobody waits for it here.
within_patience() {
    "$@" > /dev/null 5>&- &
    attempt=$!
    waited=0
    while kill -0 "$attempt" 2> /dev/null; do
        if [ "$waited" -ge $((patience * 20)) ]; then
            kill -9 "$attempt"
            # The others are not worth waiting for as long.
            patience=1
            return 1
        fi
        sleep 0.05
        waited=$((waited + 1))
    done
    wait "$attempt"
}

# answers POINT: whether the host's server answers. Opening the directory asks it; what is remembered is not enough.
answers() { within_patience look "$1" 2> /dev/null; }
look() { : < "$1"; }

# leave NUMBER POINT: ends a mount that is of no use. Its client would keep the port.
leave() {
    rm -f "$run/mounted.$1"
    ! is_mounted || within_patience umount -l "$2"
    client=
    [ ! -r "$run/mount.$1.pid" ] || read -r client < "$run/mount.$1.pid"
    rm -f "$run/mount.$1.pid"
    # Another program may have the number by now.
    [ -z "$client" ] || ! grep -q '^sshfs' "/proc/$client/comm" 2> /dev/null || kill -9 "$client"
}

# withdraw LINE: ends a mount that was made by this line of the list. What was written is brought to the host first, also if
# programs keep files open, which lose them.
withdraw() {
    number=${1%% *}
    point=${1#* * * }
    if is_mounted && answers "$point"; then
        patience=60
        within_patience umount "$point" 2> /dev/null || within_patience sync -f "$point" 2> /dev/null
    fi
    patience=5
    leave "$number" "$point"
}

# mounted NUMBER TYPE: tells the host, and remembers what is mounted.
mounted() {
    printf '%s\n' "$line" > "$run/mounted.$1"
    printf '{"type":"mount","mount":%s,"as":"%s"}\n' "$1" "$2" >&5
}

# mount_by_virtiofs NUMBER OPTIONS POINT: the kernel speaks to the host's server.
mount_by_virtiofs() {
    modprobe -q virtiofs
    complaint=$run/mount.$1
    : > "$complaint"
    # The kernel mounts again what is still in use, also without a server.
    if within_patience mount -t virtiofs -o "${2%%,*}" "hostagent:$1" "$3" 2> "$complaint" && answers "$3"; then
        mounted "$1" virtiofs
        return
    fi
    ! is_mounted || leave "$1" "$3"
    [ -s "$complaint" ] || echo 'the server of the host does not answer' > "$complaint"
    cat "$complaint" >> "$log"
    report "$1" "$(tail -n 1 "$complaint")" virtiofs
    return 1
}

# have_sshfs: whether sshfs is there now. As with Lima, the guest's own packages provide it. That is tried once in a boot.
have_sshfs() {
    command -v sshfs > /dev/null && return
    mkdir "$run/sshfs-installed" 2> /dev/null || return
    echo '== sshfs' >> "$log"
    if command -v apt-get > /dev/null; then
        apt='timeout 300 apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=120'
        export DEBIAN_FRONTEND=noninteractive
        $apt install sshfs || { $apt update && $apt install sshfs; }
    elif command -v dnf > /dev/null; then
        timeout 300 dnf install -y fuse-sshfs
    elif command -v apk > /dev/null; then
        timeout 300 apk add --update-cache sshfs
    elif command -v pacman > /dev/null; then
        timeout 300 pacman -S --noconfirm sshfs
    elif command -v zypper > /dev/null; then
        timeout 300 zypper --non-interactive install sshfs
    fi < /dev/null >> "$log" 2>&1 5>&-
    command -v sshfs > /dev/null
}

# mount_by_sshfs NUMBER OPTIONS POINT: sshfs speaks to the host's server over the port, and stays in the foreground.
mount_by_sshfs() {
    find_port "$1"
    [ -n "$port" ] || { report "$1" 'the machine has no port for it; it has one after the next start'; return; }
    modprobe -q fuse
    have_sshfs || { report "$1" "there is no sshfs, and it could not be installed; see $log"; return; }
    complaint=$run/mount.$1
    tries=0
    while :; do
        : > "$complaint"
        # The option is called passive in newer versions, which know this name as well.
        sshfs ":/mount" "$3" -o "slave,allow_other,fsname=hostagent:$1,$2" <> "$port" >&0 2> "$complaint" 5>&- &
        client=$!
        echo "$client" > "$run/mount.$1.pid"
        while kill -0 "$client" 2> /dev/null; do
            # sshfs mounts first and asks the server then.
            if is_mounted; then
                if answers "$3"; then
                    mounted "$1" reverse-sshfs
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
        # The host may have taken it away since the machine was made. It is looked at again with the new list.
        [ "$list" = "$run/mounts" ] || [ ! -e "$run/mounts" ] || return
        # The host's server may begin a moment later.
        tries=$((tries + 1))
        [ "$tries" -lt 20 ] || break
        sleep 0.25
    done
    cat "$complaint" >> "$log"
    report "$1" "sshfs: $(tail -n 1 "$complaint")"
}

# The list of the volume is that of the machine's start. The host sends another one when it has changed.
list=$files/mounts
[ ! -e "$run/mounts" ] || list=$run/mounts

while read -r taken type line; do
    [ "$type" = none ] || continue
    ! read -r line 2> /dev/null < "$run/mounted.$taken" || withdraw "$line"
    printf '{"type":"mount","mount":%s,"as":"none"}\n' "$taken" >&5
done < "$list"
# A message of the host may have been lost.
for entry in "$run"/mounted.*; do
    [ -r "$entry" ] && read -r line < "$entry" || continue
    grep -qxF -e "$line" "$list" || withdraw "$line"
done

# Number, type, options, mount point. The last one may have spaces in it.
while read -r line; do
    number=${line%% *}
    point=${line#* * * }
    type=${line#* }
    options=${type#* }
    type=${type%% *}
    options=${options%% *}
    [ "$type" != none ] || continue
    if [ "${1:-$number}" -eq "$number" ]; then
        # The client of another server would not be understood.
        ! is_mounted || { [ -z "${1:-}" ] && answers "$point"; } || leave "$number" "$point"
        if is_mounted; then
            :
        elif mkdir -p "$point"; then
            [ "$type" = virtiofs ] && [ -z "${1:-}" ] && mount_by_virtiofs "$number" "$options" "$point" ||
                mount_by_sshfs "$number" "$options" "$point"
        else
            report "$number" "the directory $point cannot be made"
        fi
    fi
done < "$list"
