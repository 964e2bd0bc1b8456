#!/bin/sh
# The guest runs this script as root at every boot, from the mounted cidata volume. The script starts the guest channel,
# sets the environment, runs the provisioning scripts and reports its progress. It is POSIX sh and needs nothing
# installed.
# Usage: boot.sh all|channel [CLOUD_INIT_LOG]
# "channel" only starts the guest channel, as soon as there is something to report.
cidata=${0%/*}
run=/run/hostagent
log=/var/log/hostagent-provision.log
umask 022
. "$cidata/hostagent.env"

mkdir -p "$run" /var/log
# Opening a FIFO for reading and writing never blocks, and a stage fits its buffer, so a report cannot hold up the boot.
# The FIFO stays open here and in the channel, because the contents of a FIFO that no process has open are lost.
new=
[ -p "$run/outbox" ] || { mkfifo -m 0600 "$run/outbox" && new=1; }
exec 5<>"$run/outbox"
if [ -n "$new" ]; then
    # The channel runs in a session of its own, so that whatever ends this script does not end the channel.
    setsid sh "$cidata/channel.sh" "${2:-}" </dev/null >/dev/null 2>&1 &
fi

say() { printf '%s\n' "$1" >&5; }

if [ "$1" = channel ]; then
    say '{"type":"stage","stage":"provisioning"}'
    exit 0
fi
[ -n "${2:-}" ] || say '{"type":"stage","stage":"provisioning"}'

# Writes the environment of lima.yaml between two marks into /etc/environment, which pam_env reads.
if [ -s "$cidata/environment" ] || [ -f /etc/environment ]; then
    {
        [ -f /etc/environment ] && sed '/^#HOSTAGENT-START$/,/^#HOSTAGENT-END$/d' /etc/environment
        echo '#HOSTAGENT-START'
        cat "$cidata/environment"
        echo '#HOSTAGENT-END'
    } > /etc/environment.hostagent && mv /etc/environment.hostagent /etc/environment
fi

# run_script MODE FILE: runs one provisioning script with the environment and writes its output to the log.
run_script() {
    script=${2##*/}
    # The copy is not under /run, because many distributions mount /run noexec.
    copy=/var/lib/hostagent/$1-$script
    mkdir -p /var/lib/hostagent
    cp "$2" "$copy" && chmod 0755 "$copy" && cp "$cidata/environment.sh" "$run/environment.sh"
    echo "== $1 $script" >> "$log"
    if [ "$1" = user ]; then
        su -s /bin/sh -c ". '$run/environment.sh'; exec '$copy'" - "$HOSTAGENT_USER" </dev/null >> "$log" 2>&1 5>&-
    else
        ( . "$run/environment.sh"; exec "$copy" ) </dev/null >> "$log" 2>&1 5>&-
    fi
    status=$?
    rm -f "$copy"
    [ "$status" -eq 0 ] ||
        say '{"type":"provision-failed","mode":"'"$1"'","script":"'"$script"'","status":'"$status"'}'
}

if [ -d "$cidata/provision" ]; then
    for mode in boot dependency system user; do
        for script in "$cidata/provision/$mode"/*; do
            [ -f "$script" ] && run_script "$mode" "$script"
        done
    done
fi
say '{"type":"ready"}'
