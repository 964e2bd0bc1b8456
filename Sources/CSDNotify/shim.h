/* The three parts of libsystemd that the agent needs: notification, unit of a process, listen descriptors. */
#include <systemd/sd-daemon.h>
#include <systemd/sd-login.h>
