#!/bin/sh
# The guest's end of the guest channel: owns the virtio-serial port, sends JSON lines, obeys the host's.
# Usage: channel.sh [CLOUD_INIT_LOG], with the FIFO of stages open as descriptor 5.
# POSIX sh only. It is never in the boot path: a write to the port blocks while nobody reads at the host's end,
# so others write to a FIFO, whose few short lines always fit its buffer, and this process alone may wait.
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

# Stages, in the order they were said; the last one is kept for a host that comes anew.
last=/run/hostagent/stage
while read -r line; do
    case $line in *'"stage"'*|*'"ready"'*) printf '%s\n' "$line" > "$last.new" && mv "$last.new" "$last" ;; esac
    printf '%s\n' "$line"
done <&5 >&3 &

# The log of cloud-init, a line a message, reduced to what JSON strings may hold.
if [ -n "$log" ]; then
    tail -n +1 -F "$log" 2>/dev/null | while read -r line; do
        line=$(printf '%s' "$line" | LC_ALL=C tr -cd '\040-\176' | cut -c 1-400 | LC_ALL=C sed -e 's/[\\"]/\\&/g')
        [ -z "$line" ] || printf '{"type":"log","line":"%s"}\n' "$line"
    done >&3 &
fi

# After the host slept or this guest stood still.
set_clock() {
    seconds=${1##*'"seconds":'}
    seconds=${seconds%%[!0-9.]*}
    date -u -s "@$seconds" && return
    # busybox takes whole seconds: the next one, when it comes.
    fraction=${seconds#*.}000
    fraction=${fraction%"${fraction#???}"}
    usleep $(((2000 - 1$fraction) * 1000)) && date -u -s "@$((${seconds%.*} + 1))"
}

while :; do
    while read -r line; do
        case $line in
        *'"type":"poweroff"'*) poweroff & ;;
        *'"type":"reboot"'*) reboot & ;;
        *'"type":"time"'*) set_clock "$line" ;;
        esac
    done <&3
    # The host's end was closed: its agent has gone. The write waits until there is another, who has not heard this.
    cat "$last" >&3 || sleep 1
done
