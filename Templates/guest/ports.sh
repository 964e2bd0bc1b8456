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

# send FIELDS SOCKET…: sends one message.
send() {
    fields=$1
    shift
    printf '{"type":"ports",%s,"sockets":"%s"}\n' "$fields" "$*" >&3
}

any_ipv6=00000000000000000000000000000000
# only_ipv6 [FILTER]: the ports whose sockets for all IPv6 addresses accept no IPv4 connections. Only ss(8) tells.
only_ipv6() {
    ss -H -6 -l -n -t -e ${1:+"$1"} 2> /dev/null | sed -n 's/^[^ ]* *[^ ]* *[^ ]* *\(\[::\]\|\*\):\([0-9]*\) .*v6only:1.*/\2/p' |
        head -n 100
}

# all_sockets: every listening socket as ADDRESS:PORT. The state 0A is TCP_LISTEN (include/net/tcp_states.h).
all_sockets() { sed -n 's/^ *[0-9]*: \([0-9A-F]*:[0-9A-F]*\) [0-9A-F]*:0000 0A .*/\1/p' $tables; }

# report_all: sends everything that listens, with as many sockets as a line has room for. The last message says that it is
# complete.
report_all() {
    reminder=
    set -- $(all_sockets)
    only=
    case $* in *$any_ipv6:*) only=$(only_ipv6 | tr '\n' ' ') ;; esac
    while [ $# -gt 64 ]; do
        some=
        for _ in 1 2 3 4 5 6 7 8; do
            some="$some $1 $2 $3 $4 $5 $6 $7 $8"
            shift 8
        done
        send '"part":"more","onlyIPv6":"'"$only"'"' $some
    done
    send '"part":"all","onlyIPv6":"'"$only"'"' "$@"
}

# hexadecimal NUMBER DIGITS: sets digits to the number as the tables have it.
hexadecimal() {
    digits= rest=$1 count=$2
    while [ ${#digits} -lt "$count" ]; do
        digit=$((rest % 16)) rest=$((rest / 16))
        case $digit in 10) digit=A ;; 11) digit=B ;; 12) digit=C ;; 13) digit=D ;; 14) digit=E ;; 15) digit=F ;; esac
        digits=$digit$digits
    done
}

# ipv4 ADDRESS: sets announced to the address as the tables have it, the last byte first.
ipv4() {
    announced= address=$1
    while [ -n "$address" ]; do
        hexadecimal "${address%%.*}" 2
        announced=$digits$announced
        case $address in *.*) address=${address#*.} ;; *) address= ;; esac
    done
}

# announce LINE: sets announced to the address of the socket that the kernel announces, if it is of a kind that is easy to write
# as the tables have it.
announce() {
    announced=
    address=${1##* saddrv6=}
    case $1 in
    *' family=AF_INET '*)
        address=${1##* saddr=}
        ipv4 "${address%% *}"
        ;;
    *' saddrv6=:: '*) announced=$any_ipv6 ;;
    *' saddrv6=::1 '*) announced=00000000000000000000000001000000 ;;
    esac
}

# report PORT [ADDRESS]: sends what listens on a port now. It starts no process, because that would take longer than all the
# rest: the tables begin with the listening sockets, so a shell has not much to read. The kernel announces a socket before the
# tables show it. If they still do not show the address after some tries, the port is read again a moment later.
report() {
    hexadecimal "$1" 4
    port=$digits
    read_port
    if [ $# -gt 1 ]; then
        tries=0
        until shows "$2" || [ "$tries" -eq 5 ]; do
            tries=$((tries + 1))
            read_port
        done
        shows "$2" || remind
    fi
    # One line has no room for more.
    [ "$count" -le 64 ] || { report_all; return; }
    send '"part":"one","port":'"$1" $found
    case $found in
    *" 00000000:"*) ;;
    *" $any_ipv6:"*)
        only=$(only_ipv6 "sport = :$1" | tr '\n' ' ')
        [ -z "$only" ] || send '"part":"one","port":'"$1"',"onlyIPv6":"'"$only"'"' $found
        ;;
    esac
}

# shows ADDRESS: whether it is among what the tables show on the port.
shows() {
    case "$found " in
    *" $1:$port "*) ;;
    *) return 1 ;;
    esac
}

# remind: has everything read again a moment later. The reminder comes in the pipe of the events.
remind() {
    [ -z "$reminder" ] || return
    (sleep 1; echo all > "$trace/trace_marker") &
    reminder=pending
}

# read_port: sets found to what the tables show on the port, and count to how many that are.
read_port() {
    found= count=0
    for table in $tables; do
        while read -r _ socket _ state _; do
            case $state in st) continue ;; 0A) ;; *) break ;; esac
            # Several processes may share one.
            case "$found " in *" $socket "*) continue ;; esac
            case $socket in *:"$port") found="$found $socket" count=$((count + 1)) ;; esac
        done < "$table"
    done
}

# The file system of the kernel's tracing. It is mounted where nobody else looks, unless it is mounted already.
tracing=/sys/kernel/tracing
if [ ! -d "$tracing/instances" ]; then
    tracing=$run/tracing
    mkdir -p "$tracing"
    mountpoint -q "$tracing" || mount -t tracefs tracefs "$tracing" 2> /dev/null
fi
# An instance of its own leaves alone whatever else is traced in this guest. The state 10 is TCP_LISTEN, and 7 TCP_CLOSE. The
# socket of each connection that a listener accepts leaves TCP_LISTEN for another state, which is no news. The buffer is small:
# when there are more changes than can be told, the kernel counts them, and everything is read once.
trace=$tracing/instances/hostagent
event=$trace/events/sock/inet_sock_set_state
watch() {
    [ -d "$tracing/instances" ] && mkdir -p "$trace" && echo 8 > "$trace/buffer_size_kb" &&
        echo 'newstate == 10 || (oldstate == 10 && newstate == 7)' > "$event/filter" && echo 1 > "$event/enable" &&
        echo 1 > "$trace/tracing_on"
} 2> /dev/null

while watch; do
    # The pipe must be read with large buffers. Read byte by byte, as a shell reads, or with sendfile(2), as some cat(1) do, it
    # gives the last line only when the next event comes.
    dd bs=4096 if="$trace/trace_pipe" 2> /dev/null | {
        report_all
        while read -r line; do
            case $line in
            *'tracing_mark_write: all'*|*'[LOST '*) report_all ;;
            *' sport='*'state=TCP_LISTEN'*)
                number=${line##* sport=}
                number=${number%% *}
                case $line in
                *'newstate=TCP_LISTEN'*)
                    announce "$line"
                    report "$number" "$announced"
                    ;;
                *) report "$number" ;;
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
    now=$(all_sockets)
    if [ "$now" != "$before" ] || [ -e "$wanted" ]; then
        rm -f "$wanted"
        before=$now
        report_all
    fi
    sleep 1
done
