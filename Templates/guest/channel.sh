#!/bin/sh
# The guest's end of the guest channel. It owns the virtio-serial port, sends JSON lines and obeys the host's lines.
# Usage: channel.sh [CLOUD_INIT_LOG], with the FIFO of stages open as descriptor 5.
# POSIX sh only. The boot path never waits for this process. A write to the port blocks while no process reads at the
# host's end. Other processes therefore write to a FIFO, whose buffer always has room for their few short lines, and
# only this process may block.
log=${1:-}
port=
for entry in /sys/class/virtio-ports/*; do
    [ -r "$entry/name" ] || continue
    read -r name < "$entry/name"
    [ "$name" = io.hostagent.channel.0 ] && port=/dev/${entry##*/}
done
if [ -z "$port" ]; then
    echo "hostagent: no port named io.hostagent.channel.0: this guest cannot speak to its host" >&2
    exit 0
fi

exec 3<>"$port" || exit 1

# Sends stages in the order in which they were reported. The last one is kept for a host that connects later.
last=/run/hostagent/stage
while read -r line; do
    case $line in *'"stage"'*|*'"ready"'*) printf '%s\n' "$line" > "$last.new" && mv "$last.new" "$last" ;; esac
    printf '%s\n' "$line"
done <&5 >&3 &

# as_messages [OPTION]: makes a message of each line, reduced to characters that a JSON string may contain. POSIX allows
# no interval above 255, so the first 400 characters are matched in two steps.
as_messages() {
    LC_ALL=C sed "$@" -e 's/[^ -~]//g' -e 's/^\(.\{200\}\)\(.\{0,200\}\).*/\1\2/' -e 's/[\\"]/\\&/g' -e '/^$/d' \
        -e 's/.*/{"type":"log","line":"&"}/'
}

# Sends the log of cloud-init. One process for all lines costs an emulated guest some seconds less than one for each,
# but only sed with the option -u gives out a line before its output buffer is full.
if [ -n "$log" ]; then
    tail -n +1 -F "$log" 2>/dev/null | if sed -u '' < /dev/null > /dev/null 2>&1; then
        as_messages -u
    else
        while read -r line; do printf '%s\n' "$line" | as_messages; done
    fi >&3 &
fi

# Sets the clock after the host slept or this guest stood still.
set_clock() {
    seconds=${1##*'"seconds":'}
    seconds=${seconds%%[!0-9.]*}
    date -u -s "@$seconds" && return
    # busybox accepts whole seconds only: wait for the next one and set that.
    fraction=${seconds#*.}000
    fraction=${fraction%"${fraction#???}"}
    usleep $(((2000 - 1$fraction) * 1000)) && date -u -s "@$((${seconds%.*} + 1))"
}

# Sends which ports accept connections, now and whenever they change. The process that watches them is reminded in its own
# pipe, so that it alone writes about ports.
watch_ports() {
    if [ -n "$watcher" ] && kill -0 "$watcher" 2> /dev/null; then
        for tracing in /sys/kernel/tracing /run/hostagent/tracing; do
            [ ! -e "$tracing/instances/hostagent/trace_marker" ] || echo all > "$tracing/instances/hostagent/trace_marker"
        done
        : > /run/hostagent/ports-wanted
    else
        sh "${0%/*}/ports.sh" < /dev/null > /dev/null 2>&1 5>&- &
        watcher=$!
    fi
}
watcher=

while :; do
    while read -r line; do
        case $line in
        *'"type":"ports"'*) watch_ports ;;
        *'"type":"mounts"'*)
            renewed=${line##*'"renewed":'}
            sh "${0%/*}/mounts.sh" "${renewed%%[!0-9]*}" < /dev/null > /dev/null 2>&1 &
            ;;
        *'"type":"set-mounts"'*)
            list=${line##*'"list":"'}
            # A backslash stands doubled in JSON.
            printf '%b' "$(printf '%b' "${list%%'"'*}")" > /run/hostagent/mounts.new &&
                mv /run/hostagent/mounts.new /run/hostagent/mounts
            # For the next boot from this disk.
            : > /var/lib/hostagent/mounts-changed
            sh "${0%/*}/mounts.sh" < /dev/null > /dev/null 2>&1 &
            ;;
        *'"type":"changed"'*) sh "${0%/*}/changed.sh" "$line" < /dev/null > /dev/null 2>&1 & ;;
        *'"type":"poweroff"'*) poweroff & ;;
        *'"type":"reboot"'*) reboot & ;;
        *'"type":"time"'*) set_clock "$line" ;;
        esac
    done <&3
    # The host's end was closed, so its agent has gone. The write blocks until the next agent connects, which has not
    # received this stage.
    cat "$last" >&3 || sleep 1
done
