#!/bin/sh
# The guest runs this script as root at every boot, from the mounted cidata volume. The script starts the guest channel,
# sets the environment, runs the provisioning and reports its progress. It is POSIX sh and needs nothing installed.
# Usage: boot.sh channel|all|again [CLOUD_INIT_LOG]
# "channel" only starts the guest channel, as soon as there is something to report. "all" ends a boot in which cloud-init
# or the guest's own init has set the guest up. "again" is the whole boot of a guest that was set up before.
files=${0%/*}
run=/run/hostagent
state=/var/lib/hostagent
log=/var/log/hostagent-provision.log
umask 022
. "$files/env"

mkdir -p "$run" "$state" /var/log
# Opening a FIFO for reading and writing never blocks, and a stage fits its buffer, so a report cannot hold up the boot.
# The FIFO stays open here and in the channel, because the contents of a FIFO that no process has open are lost.
new=
[ -p "$run/outbox" ] || { mkfifo -m 0600 "$run/outbox" && new=1; }
exec 5<>"$run/outbox"
if [ -n "$new" ]; then
    # The channel runs in a session of its own, so that whatever ends this script does not end the channel.
    setsid sh "$files/channel.sh" "${2:-}" </dev/null >/dev/null 2>&1 &
fi

say() { printf '%s\n' "$1" >&5; }

# warn TEXT: reports a sentence, reduced to characters that a JSON string may contain.
warn() {
    say '{"type":"warning","line":"'"$(printf '%s' "$1" | LC_ALL=C tr -cd '\040-\176' | cut -c 1-400 |
        LC_ALL=C sed -e 's/[\\"]/\\&/g')"'"}'
}

read -r identity < "$files/identity"
# is_set_up: whether this disk was set up with the seed of this volume. `cloud-init clean` removes the link to its instance.
is_set_up() {
    applied=
    [ ! -r "$state/applied" ] || read -r applied < "$state/applied"
    [ "$identity" = "$applied" ] && [ -e /var/lib/cloud/instance ]
}

if [ "$1" = channel ]; then
    say '{"type":"stage","stage":"provisioning"}'
    # The first login of a boot starts the user's systemd and waits for it. Without cloud-init, everything that it depends
    # on is as it was when the guest was set up, so it starts while the rest of the guest does.
    if [ -z "${2:-}" ] && [ -d /run/systemd/system ] && is_set_up && user_id=$(id -u "$HOSTAGENT_USER" 2> /dev/null); then
        systemctl start --no-block "user@$user_id.service" < /dev/null > /dev/null 2>&1 5>&-
    fi
    exit 0
fi
[ -n "${2:-}" ] || say '{"type":"stage","stage":"provisioning"}'

if [ "$1" = again ] && ! is_set_up; then
    # The host was wrong: this disk is older than what it remembers. cloud-init is started after all.
    warn 'the disk was not set up with this configuration; cloud-init runs now'
    rm -f "$state/applied"
    # Its units are not for such a boot, so its stages are run one after the other, as they would. The last one runs this
    # script again.
    for stage in 'init --local' init 'modules --mode=config' 'modules --mode=final'; do
        env -u KERNEL_CMDLINE cloud-init $stage
    done </dev/null >/dev/null 2>&1 5>&-
    exit 0
fi

# All that follows happens once in a boot, even in a guest whose cloud-init could not be kept off.
mkdir "$run/once" 2>/dev/null || exit 0

# between_marks FILE: puts the standard input between two marks at the end of a file, in the place of what was there.
between_marks() {
    {
        [ -f "$1" ] && sed '/^#HOSTAGENT-START$/,/^#HOSTAGENT-END$/d' "$1"
        echo '#HOSTAGENT-START'
        cat
        echo '#HOSTAGENT-END'
    } > "$1.hostagent" && mv "$1.hostagent" "$1"
}

# pam_env reads this file at every login.
if [ -s "$files/environment" ] || [ -f /etc/environment ]; then
    between_marks /etc/environment < "$files/environment"
fi

# The second word of a line is an address, or a name whose address is looked up.
if [ -s "$files/hosts" ] || grep -q '^#HOSTAGENT-START$' /etc/hosts 2>/dev/null; then
    while read -r name target; do
        case $target in
        *:*|[0-9]*.[0-9]*.[0-9]*.[0-9]*) echo "$target $name" ;;
        *)
            address=$(awk -v name="$target" '$1 == name { print $2; exit }' "$files/hosts")
            [ "$target" = host.lima.internal ] && address=$HOSTAGENT_GATEWAY
            [ -n "$address" ] || address=$(getent hosts "$target" | awk '{ print $1; exit }')
            if [ -n "$address" ]; then echo "$address $name"; else warn "hostResolver: $target has no address"; fi
            ;;
        esac
    done < "$files/hosts" | between_marks /etc/hosts
fi

if [ -n "$HOSTAGENT_TIMEZONE" ] && [ "$(cat /etc/timezone 2>/dev/null)" != "$HOSTAGENT_TIMEZONE" ]; then
    if [ -f "/usr/share/zoneinfo/$HOSTAGENT_TIMEZONE" ]; then
        ln -sf "/usr/share/zoneinfo/$HOSTAGENT_TIMEZONE" /etc/localtime && echo "$HOSTAGENT_TIMEZONE" > /etc/timezone
    fi
fi

# A clone has the disk of another guest, and must not have its machine-id. cloud-init makes it keys of its own.
clone=
[ ! -r "$state/clone" ] || read -r clone < "$state/clone"
if [ "$HOSTAGENT_CLONE" != "$clone" ] && [ -s /etc/machine-id ]; then
    # machine-id(5): 32 hexadecimal digits. It counts from the next boot on.
    tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id.hostagent && mv /etc/machine-id.hostagent /etc/machine-id
    [ ! -f /var/lib/dbus/machine-id ] || [ -L /var/lib/dbus/machine-id ] ||
        cp /etc/machine-id /var/lib/dbus/machine-id
    echo "$HOSTAGENT_CLONE" > "$state/clone"
fi

# find_device SERIAL: the disk with this serial number as $device, empty if there is none.
find_device() {
    device=
    for entry in /sys/block/*/serial; do
        # The file has no line end, so read(1) would fail.
        [ -r "$entry" ] && [ "$(cat "$entry")" = "$1" ] || continue
        device=${entry%/serial}
        device=/dev/${device##*/}
    done
}

# mount_disk SERIAL NAME TYPE ARGUMENTS: mounts a disk under /mnt/lima-NAME. A disk gets a file system only if it is
# certain that nothing is on it.
mount_disk() {
    find_device "$1"
    [ -n "$device" ] || { warn "the disk $2 is not there"; return; }
    part=$device
    # Lima makes one partition.
    [ ! -b "${device}1" ] || part=${device}1
    name=$2 type=$3
    blkid -p "$device" > /dev/null 2>&1
    # blkid(8): 2 means that nothing was recognized. A new disk holds nothing but zeros.
    if [ $? -eq 2 ] && [ "$part" = "$device" ] &&
        [ "$(head -c 1048576 "$device" | tr -d '\000' | wc -c)" -eq 0 ]; then
        # The arguments have no spaces in them, and are not patterns of file names.
        set -f
        "mkfs.$type" $4 "$device" >> "$log" 2>&1 < /dev/null
        made=$?
        set +f
        [ "$made" -eq 0 ] || { warn "the disk $name got no file system: mkfs.$type failed, see $log"; return; }
    fi
    mkdir -p "/mnt/lima-$name"
    mountpoint -q "/mnt/lima-$name" || mount -t "$type" "$part" "/mnt/lima-$name" 2>> "$log" ||
        { warn "the disk $name cannot be mounted as $type, see $log"; return; }
    case $type in
    ext*) ! command -v resize2fs > /dev/null || resize2fs "$part" >> "$log" 2>&1 ;;
    xfs) ! command -v xfs_growfs > /dev/null || xfs_growfs "/mnt/lima-$name" >> "$log" 2>&1 ;;
    esac
}
if [ -s "$files/disks" ]; then
    while read -r serial name type arguments; do
        mount_disk "$serial" "$name" "$type" "$arguments"
    done < "$files/disks"
fi

# The host may have changed the mounts since the machine was made. It sends them when it hears of this boot.
if [ -e "$state/mounts-changed" ]; then
    tenths=0
    while [ ! -e "$run/mounts" ] && [ "$tenths" -lt 30 ]; do
        sleep 0.1
        tenths=$((tenths + 1))
    done
    [ -e "$run/mounts" ] || rm -f "$state/mounts-changed"
fi
# Scripts may use what is in the host's directories.
[ ! -s "$files/mounts" ] && [ ! -e "$run/mounts" ] || sh "$files/mounts.sh" < /dev/null > /dev/null 2>&1

# failed MODE SCRIPT STATUS
failed() { say '{"type":"provision-failed","mode":"'"$1"'","script":"'"$2"'","status":'"$3"'}'; }

# start_user_manager: starts the systemd of the guest's user, so that scripts can use `systemctl --user`, as with Lima. It
# goes on after the script. Sets runtime to its directory.
runtime=
start_user_manager() {
    [ -z "$runtime" ] && [ -d /run/systemd/system ] || return
    user_id=$(id -u "$HOSTAGENT_USER")
    systemctl start "user@$user_id.service" >> "$log" 2>&1 < /dev/null 5>&-
    [ ! -d "/run/user/$user_id" ] || runtime=/run/user/$user_id
}

# run_script MODE FILE: runs one provisioning script with the environment and writes its output to the log.
run_script() {
    script=${2##*/}
    # The copy is not under /run, because many distributions mount /run noexec.
    copy=$state/$1-$script
    cp "$2" "$copy" && chmod 0755 "$copy" && cp "$files/environment.sh" "$run/environment.sh"
    echo "== $1 $script" >> "$log"
    if [ "$1" = user ]; then
        start_user_manager
        su -s /bin/sh -c "${runtime:+export XDG_RUNTIME_DIR='$runtime'; }. '$run/environment.sh'; exec '$copy'" \
            - "$HOSTAGENT_USER" </dev/null >> "$log" 2>&1 5>&-
    else
        ( . "$run/environment.sh"; exec "$copy" ) </dev/null >> "$log" 2>&1 5>&-
    fi
    status=$?
    rm -f "$copy"
    [ "$status" -eq 0 ] || failed "$1" "$script" "$status"
}

# write_file FILE: writes one file of the mode "data". It appears whole, with its owner and permissions.
write_file() {
    ( . "$1.env"
        [ "$HOSTAGENT_OVERWRITE" = true ] || [ ! -e "$HOSTAGENT_FILE" ] || exit 0
        mkdir -p "${HOSTAGENT_FILE%/*}/" && cp "$1" "$HOSTAGENT_FILE.hostagent" &&
            chown "$HOSTAGENT_OWNER" "$HOSTAGENT_FILE.hostagent" &&
            chmod "$HOSTAGENT_PERMISSIONS" "$HOSTAGENT_FILE.hostagent" &&
            mv "$HOSTAGENT_FILE.hostagent" "$HOSTAGENT_FILE" || { rm -f "$HOSTAGENT_FILE.hostagent"; exit 1; }
    ) >> "$log" 2>&1 5>&- || failed data "${1##*/}" $?
}

# edit_file FILE: changes one file of the mode "yq".
edit_file() {
    if ! yq --version 2>/dev/null | grep -q 'version v\{0,1\}4'; then
        warn "provision: the mode yq needs yq 4 (https://github.com/mikefarah/yq) in the guest, and there is none"
        failed yq "${1##*/}" 127
        return
    fi
    ( . "$1.env"
        new=$HOSTAGENT_FILE.hostagent
        mkdir -p "${HOSTAGENT_FILE%/*}/" && [ -e "$HOSTAGENT_FILE" ] || : > "$HOSTAGENT_FILE"
        if [ "$HOSTAGENT_FORMAT" = auto ]; then
            case $HOSTAGENT_FILE in
            *.json) HOSTAGENT_FORMAT=json ;;
            *.toml) HOSTAGENT_FORMAT=toml ;;
            *.xml) HOSTAGENT_FORMAT=xml ;;
            *.ini) HOSTAGENT_FORMAT=ini ;;
            *.properties) HOSTAGENT_FORMAT=props ;;
            *) HOSTAGENT_FORMAT=yaml ;;
            esac
        fi
        yq -p "$HOSTAGENT_FORMAT" -o "$HOSTAGENT_FORMAT" --from-file "$1" "$HOSTAGENT_FILE" > "$new" &&
            chown "$HOSTAGENT_OWNER" "$new" && chmod "$HOSTAGENT_PERMISSIONS" "$new" &&
            mv "$new" "$HOSTAGENT_FILE" || { rm -f "$new"; exit 1; }
    ) >> "$log" 2>&1 5>&- || failed yq "${1##*/}" $?
}

# install_containerd: unpacks the archive, which is a disk of this guest, and starts the services that are wanted.
install_containerd() {
    version=
    [ ! -r "$state/containerd" ] || version=$(cat "$state/containerd")
    if [ "$version" != "$HOSTAGENT_CONTAINERD" ]; then
        find_device "$HOSTAGENT_CONTAINERD_SERIAL"
        [ -n "$device" ] || { warn 'the disk with the containerd archive is not there'; return; }
        # The first bytes tell how it is compressed. The disk ends with zeros up to a whole sector, which all of these skip.
        case $(head -c 6 "$device" | od -An -tx1 | tr -d ' \n') in
        1f8b*) unpack='gzip -dc' ;;
        fd377a585a00) unpack='xz -dc' ;;
        *) unpack=cat ;;
        esac
        echo '== containerd' >> "$log"
        mkdir -p /usr/local
        $unpack < "$device" 2>> "$log" | tar -xof - -C /usr/local >> "$log" 2>&1 ||
            { failed system containerd 1; return; }
        printf '%s' "$HOSTAGENT_CONTAINERD" > "$state/containerd"
    fi
    [ -d /run/systemd/system ] || { warn 'containerd was unpacked; only systemd can start it, and this guest has none'; return; }
    systemctl daemon-reload
    if [ -n "$HOSTAGENT_CONTAINERD_SYSTEM" ]; then
        for unit in containerd buildkit stargz-snapshotter; do
            [ -e "/usr/local/lib/systemd/system/$unit.service" ] || continue
            systemctl enable --now "$unit.service" >> "$log" 2>&1 < /dev/null || failed system "$unit" 1
        done
    fi
    [ -n "$HOSTAGENT_CONTAINERD_USER" ] || return
    # Without lingering, the user's services end with the last login.
    loginctl enable-linger "$HOSTAGENT_USER" >> "$log" 2>&1
    systemctl start "user@$(id -u "$HOSTAGENT_USER").service" >> "$log" 2>&1
    # The tool reports what is there already as done.
    su -s /bin/sh -c 'export XDG_RUNTIME_DIR=/run/user/$(id -u); containerd-rootless-setuptool.sh install' \
        - "$HOSTAGENT_USER" >> "$log" 2>&1 < /dev/null 5>&- || failed user containerd-rootless $?
}

for mode in boot dependency data yq system user; do
    [ "$mode" != data ] || [ -z "$HOSTAGENT_CONTAINERD" ] || install_containerd
    for entry in "$files/provision/$mode"/*; do
        case $entry in *.env) continue ;; esac
        [ -f "$entry" ] || continue
        case $mode in
        data) write_file "$entry" ;;
        yq) edit_file "$entry" ;;
        *) run_script "$mode" "$entry" ;;
        esac
    done
done

# install FILE PATH MODE: brings a file of the guest's init up to date.
install() {
    cmp -s "$files/$1" "$2" && return
    mkdir -p "${2%/*}" && cp "$files/$1" "$2.hostagent" && chmod "$3" "$2.hostagent" && mv "$2.hostagent" "$2" || return
    ! command -v restorecon > /dev/null || restorecon "$2" || :
}

# Whether this guest's init can run the boot scripts without cloud-init.
units_are_there() {
    [ -d /run/systemd/system ] || return 1
    for unit in hostagent-channel.service hostagent.service; do
        install "$unit" "/etc/systemd/system/$unit" 0644 || return 1
        # The running systemd need not know of it: the units are for the next boot. Loading all its units again would take
        # a second of an emulated guest, in which nobody can log in.
        [ -e "/etc/systemd/system/multi-user.target.wants/$unit" ] ||
            systemctl --no-reload enable -q "$unit" || return 1
    done
    # Without it, cloud-init runs at every boot from the disk. The units' condition is that of systemd 246.
    version=$(systemctl --version | sed -n 's/^systemd \([0-9]*\).*/\1/p')
    [ "${version:-0}" -lt 246 ] ||
        install hostagent-environment.sh /etc/systemd/system-environment-generators/hostagent 0755 || :
}

# Whether somebody wants cloud-init to do something at every boot: a script that is neither ours nor Lima's.
others_need_cloud_init() {
    for script in /var/lib/cloud/scripts/per-boot/*; do
        case ${script##*/} in
        00-hostagent|00-lima*|'*') ;;
        *) return 0 ;;
        esac
    done
    return 1
}

report_applied() { say '{"type":"applied","seed":"'"$identity"'"}'; }

# This script is part of cloud-init's last stage. When that has ended, result.json has the errors of all stages. A guest
# without errors can boot without cloud-init next time. What was written must be on the disk before the host relies on it.
confirm_setup() {
    # The host logs in now, and somebody waits for that.
    sleep 3
    seconds=3
    while [ ! -f /run/cloud-init/result.json ] && [ "$seconds" -lt 600 ]; do
        sleep 1
        seconds=$((seconds + 1))
    done
    [ -f /run/cloud-init/result.json ] || return
    errors=$(tr -d '\n' < /run/cloud-init/result.json | grep -o '"errors": *\[[^]]*[^] ][^]]*\]' | head -n 1)
    if [ -n "$errors" ]; then
        warn "cloud-init reports errors: $errors"
        return
    fi
    units_are_there && echo "$identity" > "$state/applied" && sync && report_applied
}

others=
! others_need_cloud_init || others=1
# A boot without cloud-init was made by the units, so they are there. The host must know before somebody can stop the guest.
[ "$1" != again ] || [ -n "$others" ] || report_applied
say '{"type":"ready"}'
case $1 in
again)
    [ -n "$others" ] || units_are_there ||
        warn 'the boot units of this guest could not be brought up to date; is its disk full?'
    ;;
all) [ -z "${2:-}" ] || [ -n "$others" ] || confirm_setup </dev/null >/dev/null 2>&1 & ;;
esac
