#!/bin/sh
# Made by hostagent in its guests (systemd.environment-generator(7)). A guest that boots from its disk gets no kernel command
# line from its host. The asset tag of the machine's chassis is what the host tells it instead: nothing has changed since
# cloud-init set this guest up. cloud-init then stays off for this boot; it reads this variable in the place of the kernel's
# command line ("How to disable cloud-init"). hostagent's units read the other one.
tag=
[ ! -r /sys/class/dmi/id/chassis_asset_tag ] || read -r tag < /sys/class/dmi/id/chassis_asset_tag
[ "$tag" = hostagent.setup=done ] || exit 0
for unit in hostagent-channel hostagent; do
    [ -e "/etc/systemd/system/multi-user.target.wants/$unit.service" ] || exit 0
done
echo KERNEL_CMDLINE=cloud-init=disabled
echo HOSTAGENT_SETUP=done
