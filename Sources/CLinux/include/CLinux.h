/*
 * Linux calls that Swift's Glibc module lacks, because they are variadic, need _GNU_SOURCE or have no wrapper. Only
 * HostOS uses them. This header names no system type, so it cannot conflict with another module's view of the system
 * headers.
 */
#ifndef CLINUX_H
#define CLINUX_H

/* pidfd_open(2), Linux 5.3: a close-on-exec descriptor that becomes readable when the process ends. */
int clinux_pidfd_open(int pid);

/* pidfd_send_signal(2), Linux 5.1: signals the process the descriptor was opened for, never a later one. */
int clinux_pidfd_send_signal(int pidfd, int signal);

/* fcntl(2) F_OFD_SETLK on the whole file: the open file holds the lock, not the process. 0, or -1 with errno. */
int clinux_lock_whole_file(int fd);

/* fcntl(2) F_OFD_SETLK: gives that lock back, also where a process that was just forked has the open file too. */
int clinux_unlock_whole_file(int fd);

/* fcntl(2) F_OFD_GETLK: 1 when another open file holds the lock, 0 when none does, -1 with errno. */
int clinux_is_locked(int fd);

/* getsockopt(2) SO_PEERCRED of a Unix socket. 0, or -1 with errno. */
int clinux_peer_credentials(int fd, int *pid, unsigned *uid);

/* ioctl_ficlone(2): shares the extents of one file with another. 0, or -1 with errno. */
int clinux_clone_file(int destination, int source);

/* renameat2(2) with RENAME_NOREPLACE. 0, or -1 with errno. */
int clinux_rename_if_absent(const char *from, const char *to);

/* copy_file_range(2). The number of bytes, or -1 with errno. */
long clinux_copy_range(int source, long offset, int destination, long length);

/* posix_spawn_file_actions_addclosefrom_np(3), glibc 2.34; `actions` is a posix_spawn_file_actions_t. */
int clinux_spawn_close_from(void *actions, int lowest);

/* timerfd_create(2) with TFD_TIMER_CANCEL_ON_SET: readable when the realtime clock jumps. A descriptor, or -1. */
int clinux_clock_watch(void);

/* Reads such a descriptor and arms it again: 1 when the clock has jumped, 0 otherwise. */
int clinux_clock_jumped(int fd);

/*
 * inotify(7): readable when a directory was removed or moved away, or an entry of it was; with `arrivals`, when an entry
 * was made in it or moved there. A descriptor, or -1.
 */
int clinux_watch_directory(const char *directory, int arrivals);

/* inotify(7): readable when a file was written to or truncated. A descriptor, or -1. */
int clinux_watch_writes(const char *file);

/* POSIX_SPAWN_SETSID of <spawn.h>. */
short clinux_spawn_setsid(void);

#endif
