#!/bin/sh
# Tells the host which TCP ports of the guest accept connections, with the guest channel open as descriptor 3.
# Usage: ports.sh
# The kernel's tracepoint sock/inet_sock_set_state says that a port has changed; what listens on it is then read from /proc,
# which shows nothing of the network namespaces of containers. Nothing runs while nothing changes. Only this process writes
# about ports, so its messages arrive in the order of what they say.
# POSIX sh only, and sed.
run=/run/hostagent
wanted=$run/ports-wanted
tables=
for table in /proc/net/tcp /proc/net/tcp6; do [ ! -r "$table" ] || tables="$tables $table"; done

# sockets PORT: the listening sockets of this port, a pattern of hexadecimal digits, each as ADDRESS:PORT.
# The state 0A is TCP_LISTEN (include/net/tcp_states.h).
sockets() { sed -n "s/^ *[0-9]*: \([0-9A-F]*:$1\) [0-9A-F]*:0000 0A .*/\1/p" $tables; }

# only_ipv6: the ports whose sockets for all addresses accept no IPv4 connections, of those that are told with ss(8).
only_ipv6() {
    case $1 in *00000000000000000000000000000000:*) ;; *) return ;; esac
    command -v ss > /dev/null && ss -H -6 -l -n -t -e 2> /dev/null |
        sed -n 's/^[^ ]* *[^ ]* *[^ ]* *\[::\]:\([0-9]*\) .*v6only:1.*/\1/p'
}

# send PART SOCKET…: sends one message, with as many sockets as its line has room for.
send() {
    part=$1
    shift
    printf '{"type":"ports",%s,"sockets":"%s"}\n' "$part" "$*" >&3
}

# report_all: sends everything that listens. The last message says that it is complete.
report_all() {
    reminder=
    set -- $(sockets '[0-9A-F]*')
    only=$(only_ipv6 "$*" | tr '\n' ' ')
    while [ $# -gt 64 ]; do
        some=
        for _ in 1 2 3 4 5 6 7 8; do
            some="$some $1 $2 $3 $4 $5 $6 $7 $8"
            shift 8
        done
        send '"part":"more"' $some
    done
    send '"part":"all","onlyIPv6":"'"$only"'"' "$@"
}

# report PORT: sends what listens on a port now. Fails if nothing does.
report() {
    set -- "$1" $(sockets "$(printf %04X "$1")")
    port=$1
    shift
    only=$(only_ipv6 "$*" | tr '\n' ' ')
    send '"part":"one","port":'"$port"',"onlyIPv6":"'"$only"'"' "$@"
    [ $# -gt 0 ]
}

# The file system of the kernel's tracing. It is mounted where nobody else looks, unless it is mounted already.
tracing=/sys/kernel/tracing
if [ ! -d "$tracing/instances" ]; then
    tracing=$run/tracing
    mkdir -p "$tracing"
    [ -d "$tracing/instances" ] || mount -t tracefs tracefs "$tracing" 2> /dev/null
fi
# An instance of its own leaves alone whatever else is traced in this guest. The state 10 is TCP_LISTEN. The buffer is small:
# when there are more changes than can be told, the kernel counts them, and everything is read once.
trace=$tracing/instances/hostagent
event=$trace/events/sock/inet_sock_set_state
watch() {
    mkdir -p "$trace" && echo 8 > "$trace/buffer_size_kb" && echo 'newstate == 10 || oldstate == 10' > "$event/filter" &&
        echo 1 > "$event/enable" && echo 1 > "$trace/tracing_on"
} 2> /dev/null

while watch; do
    # The pipe must be read with large buffers. Read byte by byte, as a shell reads, or with sendfile(2), as some cat(1) do, it
    # gives the last line only when the next event comes.
    dd bs=4096 if="$trace/trace_pipe" 2> /dev/null | {
        report_all
        while read -r line; do
            case $line in
            *'tracing_mark_write: all'*|*' LOST '*) report_all ;;
            *' sport='*'state=TCP_LISTEN'*)
                port=${line##* sport=}
                port=${port%% *}
                report "$port" || case $line in
                # The kernel announces the state before the table shows it. If the port belongs to this network namespace,
                # it is there a moment later. The reminder comes in the same pipe.
                *'newstate=TCP_LISTEN'*)
                    [ -z "$reminder" ] || continue
                    (sleep 1; echo all > "$trace/trace_marker") &
                    reminder=pending
                    ;;
                esac
                ;;
            esac
        done
    }
    sleep 1
done

# Without tracing, the tables are read every second.
printf '{"type":"warning","line":"%s"}\n' \
    'the kernel tells nothing about its sockets; its tables are read every second, which wakes the guest each time' >&3
before=
: > "$wanted"
while :; do
    now=$(sockets '[0-9A-F]*')
    if [ "$now" != "$before" ] || [ -e "$wanted" ]; then
        rm -f "$wanted"
        before=$now
        report_all
    fi
    sleep 1
done
