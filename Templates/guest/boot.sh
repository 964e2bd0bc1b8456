#!/bin/sh
# Run by the guest as root at every boot, from the mounted cidata volume: starts the guest channel, sets the
# environment, runs the provisioning scripts and says how far it is. POSIX sh, nothing to install.
# Usage: boot.sh all|channel [CLOUD_INIT_LOG]
# "channel" only starts the guest channel, as early as there is something to report.
cidata=${0%/*}
run=/run/hostagent
log=/var/log/hostagent-provision.log
umask 022
. "$cidata/hostagent.env"

mkdir -p "$run" /var/log
# Opening a FIFO for reading and writing never waits, and a stage fits its buffer: saying cannot hold up the boot.
# It stays open here and in the channel: what is in a FIFO that nobody has open is gone.
new=
[ -p "$run/outbox" ] || { mkfifo -m 0600 "$run/outbox" && new=1; }
exec 5<>"$run/outbox"
if [ -n "$new" ]; then
    # A session of its own: what ends this script must not end the channel.
    setsid sh "$cidata/channel.sh" "${2:-}" </dev/null >/dev/null 2>&1 &
fi

say() { printf '%s\n' "$1" >&5; }

if [ "$1" = channel ]; then
    say '{"type":"stage","stage":"provisioning"}'
    exit 0
fi
[ -n "${2:-}" ] || say '{"type":"stage","stage":"provisioning"}'

# The environment of lima.yaml goes between two marks into the file that pam_env reads.
if [ -s "$cidata/environment" ] || [ -f /etc/environment ]; then
    {
        [ -f /etc/environment ] && sed '/^#HOSTAGENT-START$/,/^#HOSTAGENT-END$/d' /etc/environment
        echo '#HOSTAGENT-START'
        cat "$cidata/environment"
        echo '#HOSTAGENT-END'
    } > /etc/environment.hostagent && mv /etc/environment.hostagent /etc/environment
fi

# run_script MODE FILE: one provisioning script, with the environment, its output to the log.
run_script() {
    script=${2##*/}
    # Not under /run, which many distributions mount noexec.
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
