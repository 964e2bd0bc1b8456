#if defined(__linux__)
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

int clinux_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int clinux_pidfd_send_signal(int pidfd, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

int clinux_lock_whole_file(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

int clinux_unlock_whole_file(int fd) {
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

int clinux_is_locked(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return -1;
    return lock.l_type != F_UNLCK;
}

int clinux_peer_credentials(int fd, int *pid, unsigned *uid) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -1;
    *pid = credentials.pid;
    *uid = credentials.uid;
    return 0;
}

int clinux_clone_file(int destination, int source) { return ioctl(destination, FICLONE, source); }

int clinux_rename_if_absent(const char *from, const char *to) {
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

long clinux_copy_range(int source, long offset, int destination, long length) {
    loff_t from = offset, to = offset;
    return copy_file_range(source, &from, destination, &to, (size_t)length, 0);
}

int clinux_spawn_close_from(void *actions, int lowest) {
    return posix_spawn_file_actions_addclosefrom_np(actions, lowest);
}

/* The timer never expires. It is only there to be cancelled when the clock is set. */
static int watch_clock(int fd) {
    struct itimerspec never = {.it_value = {.tv_sec = INT64_MAX / 2000000000}};
    return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

int clinux_clock_watch(void) {
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd >= 0 && watch_clock(fd) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int clinux_clock_jumped(int fd) {
    uint64_t expirations;
    int jumped = read(fd, &expirations, sizeof expirations) < 0 && errno == ECANCELED;
    watch_clock(fd);
    return jumped;
}

int clinux_watch_directory(const char *directory, int arrivals) {
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) return -1;
    uint32_t changes = arrivals ? IN_CREATE | IN_MOVED_TO : IN_DELETE | IN_MOVED_FROM;
    if (inotify_add_watch(fd, directory, changes | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int clinux_watch_writes(const char *file) {
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) return -1;
    if (inotify_add_watch(fd, file, IN_MODIFY) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

short clinux_spawn_setsid(void) { return POSIX_SPAWN_SETSID; }
#else
typedef int clinux_is_for_linux;
#endif
