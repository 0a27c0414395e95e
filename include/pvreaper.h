/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * libpvreaper: hand the teardown of protected (IBM Secure Execution) guests to pv-reaper.
 *
 * What a VMM does:
 * 1. it makes one struct pvr_vm per guest, before it installs any sandbox: pvr_vm_new();
 * 2. it passes the VM fd on, once there is one: pvr_vm_set_fd();
 * 3. at a guest's reboot it calls pvr_vm_disable_async(), or its own PREPARE and pvr_vm_handoff(),
 *    in place of KVM_PV_DISABLE.
 * The teardown then runs in a process of its own, the keeper, when the daemon pv-reaperd says so.
 * The keeper shares the VMM's address space, since KVM refuses everybody else with -EIO. It does
 * not share the VMM's cgroup, scheduling or lifetime.
 * What is guaranteed, and the reason for each odd rule: docs/design.md in the source tree.
 *
 * Errors: every function that can fail returns 0 or more on success. On failure it returns a
 * negative errno value and leaves its ret argument alone. A call may change errno.
 *
 * Threads: pvr_vm_handoff(), pvr_vm_disable_async(), pvr_vm_get_fd() and pvr_vm_set_mem() may be
 * called from any thread at any time. The other functions on one struct pvr_vm must not run at the
 * same time as another call on it. Nothing here is async-signal-safe.
 *
 * Fork: a struct pvr_vm belongs to the process that made it. In a child of fork() every call on it
 * fails with -ECHILD, except two: pvr_vm_set_mem() does nothing, and pvr_vm_free() releases the
 * child's copy and touches nothing else. A child that lives has a copy of the keeper's socket. The
 * keeper then hears of the VMM's end, but not of an execve(2) of the VMM.
 *
 * Execve: the keeper leaves at once. With PVR_FLAG_DRAIN_NATIVE_AIO no native AIO may be in flight:
 * without a keeper execve(2) would wait for it.
 *
 * Environment, ignored in secure-execution mode (see secure_getenv(3)):
 * - PVREAPER_SOCKET is the daemon's socket, instead of /run/pv-reaper/handoff.sock;
 * - PVREAPER_GRACE_MSEC is the time that a keeper waits for a daemon before it goes ahead by
 *   itself, instead of 60 s (reboot) and 5 s (shutdown);
 * - PVREAPER_GRANT_GRACE_MSEC is the time that a keeper waits for the grant of a daemon that is
 *   there, instead of a day. Both are in ms, at most 86400000; a larger value counts as not set;
 * - PVREAPER_RELEASE_SOCKET is the socket that pvr_release_vm_fd() connects to, instead of
 *   /run/pv-reaper/release.sock.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version that the caller was compiled with: 0xMMmmpp, major, minor and patch. */
#define PVR_VERSION 0x000100

/* The version of the library that is loaded, in the form of PVR_VERSION. */
uint32_t pvr_version(void);

struct pvr_vm;

/* The kinds of jobs; the values are those of the wire. */
enum pvr_kind {
        PVR_KIND_REBOOT = 1,   /* the set-aside VM of a reboot: KVM_PV_ASYNC_CLEANUP_PERFORM */
        PVR_KIND_SHUTDOWN = 2, /* the address space of a VMM that is gone */
        PVR_KIND_CLOSE = 3,    /* a leftover VM fd */
};

/* How a job ended. Each word says no more than is known. */
enum pvr_result {
        PVR_RESULT_DONE = 1,        /* torn down, after the daemon's grant */
        PVR_RESULT_UNGOVERNED = 2,  /* torn down without a grant: nobody answered in time, or the
                                       VMM could not wait */
        PVR_RESULT_INTERRUPTED = 3, /* stopped by a signal; the rest waits for the VM's end */
        PVR_RESULT_SUPERSEDED = 4,  /* nothing was set aside any more: somebody else took it */
        PVR_RESULT_FAILED = 5,      /* the kernel refused; the error is in pvr_outcome.error */
        PVR_RESULT_FOREIGN = 6,     /* the kernel does not let this process do it (-EIO) */
        PVR_RESULT_LOST = 7,        /* the keeper died inside the job, or right after it: unknown */
};

struct pvr_outcome {
        uint64_t job;       /* the keeper's number for the job, from 1; 0: not run by the keeper.
                               The heir may tell an outcome again, under the same number */
        uint64_t waited_us; /* from the keeper's reading the doorbell to the start, in µs
                               (CLOCK_MONOTONIC) */
        uint64_t ran_us;    /* from start to end, in µs (CLOCK_MONOTONIC) */
        uint64_t dropped; /* outcomes before this one that were dropped because nobody read them */
        uint32_t kind;    /* enum pvr_kind */
        uint32_t result;  /* enum pvr_result */
        int32_t error;    /* negative errno of the teardown, or 0 */
        uint16_t rc, rrc; /* the Ultravisor's return and reason code, 0 if there was none */
};

enum pvr_flags {
        /*
         * The VMM uses native AIO (io_submit(2)), and every program that may start its successor
         * waits for "pv-reaperctl wait-quiet" first. Without a keeper the kernel lets a VMM's pid
         * go only when such I/O has ended. With a keeper the pid goes at once. The keeper's guard
         * waits for the I/O, then tells the daemon that the VM is quiet. See FENCING in
         * pv-reaper-qemu(7).
         */
        PVR_FLAG_DRAIN_NATIVE_AIO = 1,
};

/* Zero it, set size to sizeof(struct pvr_vm_options), then fill in the members that you need. */
struct pvr_vm_options {
        size_t size;         /* in bytes: later versions of the library add members at the end */
        uint32_t flags;      /* enum pvr_flags */
        uint32_t reserved;   /* 0 */
        const char *name;    /* the guest's name for the administrator: a claim, cut at 64 bytes;
                                or NULL. Copied. */
        const uint8_t *uuid; /* 16 bytes; or NULL: zeroes. Copied. */
};

/*
 * Starts a keeper for a new guest. Where in a VMM's start:
 * - after the last fork of a process that daemonizes;
 * - after it has dropped privileges and changed its root directory: the keeper has the credentials
 *   of this moment, and leaves when the VMM's differ later (RIGHTS in pvreaper(3)). It shares
 *   the root directory, and leaves at the next call after the shared one was changed. After
 *   unshare(CLONE_FS) or unshare(CLONE_NEWNS) keeper and heir stay behind, with the old one: the
 *   next pvr_vm_set_fd() or pvr_vm_disable_async() finds another root, a hand-off does not;
 * - before it installs a sandbox that forbids clone(2), which would kill the caller or fail this
 *   call. pvreaper(3) lists the system calls that a sandbox must allow afterwards.
 * Upstream's QEMU installs its sandbox before it daemonizes, so no place in it has all three. In
 * QEMU call this where "-run-with async-teardown=on" is handled, and never together with
 * "-daemonize", "-run-with user=" or "-run-with chroot=". "-sandbox" excludes nothing: it is
 * installed later.
 *
 * options: as above; NULL: all zero.
 * Without PVR_FLAG_DRAIN_NATIVE_AIO the VMM must not use native AIO while it has a keeper: it calls
 * pvr_vm_free() before its first io_setup(2). If it forgets, pvr_vm_set_fd() says -EBUSY.
 * Blocks until the keeper runs: well below a millisecond unless the machine is overloaded; 10 s at
 * the very most, then -ETIMEDOUT. Does not wait for the daemon, which need not be running.
 * Makes:
 * - one thread with a stack of 64 KiB; all its signals are blocked;
 * - two processes, the keeper and its guard, which share the VMM's memory and have no capabilities;
 * - at most five fds, all CLOEXEC and above 2.
 * From then on:
 * - the library stays loaded: dlclose(3) does not unload it;
 * - unshare(CLONE_NEWUSER) fails with -EINVAL, as with every process made by clone(CLONE_VM), and
 *   so does setns(2) into a user or mount namespace, as with every second thread;
 * - root, working directory and umask are shared (CLONE_FS). So an execve(2) of the VMM itself
 *   gains neither the rights of a set-user-ID program, nor file capabilities, nor capabilities that
 *   root had dropped. A fork and its execve(2) are not affected;
 * - a CLONE_VM process of the VMM's own must not outlive the VMM: the VMM's memory, which it
 *   shares, is released at the VMM's end.
 * Errors: -EINVAL (an unknown flag, a size that is less than 32 or more than 4096, or bytes that
 * are not zero behind the known members), -EBUSY (native AIO is in use and the flag is not set),
 * -ENOMEM, -EAGAIN (no more processes), -EMFILE, -EPERM, -ENAMETOOLONG (PVREAPER_SOCKET), -ENOSYS
 * (Linux before 5.9), -ETIMEDOUT; also those of open(2) and read(2) for /proc/self/maps: it shows
 * whether native AIO is in use.
 */
int pvr_vm_new(struct pvr_vm **ret, const struct pvr_vm_options *options);

/*
 * Tells the keeper which VM it is for, and how large that VM is.
 * vm_fd: from KVM_CREATE_VM in this address space. It stays the caller's: the library duplicates
 *        it. A later call with another VM's fd replaces the first.
 * mem_bytes: size of guest memory, for the administrator's eyes and the daemon's estimates; 0 if
 *        unknown.
 * Does not block. After -EBADF and -EMFILE all is as it was. After another error
 * pvr_vm_handoff() may give -ENOTCONN until this call succeeds.
 * Before you replace a VM, read the outcome of its last hand-off: rings do not say which VM they
 * are about. Close the fds of the old VM after this call. If they are closed before, the keeper's
 * fd is the last one, and the keeper tears the old VM down before it does anything else.
 * Errors: -EBADF, -EMFILE, -EPIPE (the keeper is gone), -EAGAIN (the keeper has not read earlier
 * calls yet), -ETOOMANYREFS (too many fds of this user in flight), -ENOBUFS, -ENOMEM, -ECHILD.
 * After these the keeper leaves: -EPERM (user, group, supplementary groups or root directory of the
 * calling thread are no longer the keeper's), -EBUSY (native AIO is in use without
 * PVR_FLAG_DRAIN_NATIVE_AIO), those of /proc/self/maps as above.
 */
int pvr_vm_set_fd(struct pvr_vm *vm, int vm_fd, uint64_t mem_bytes);

/* The guest has another size now, in bytes. Only stores the size: does not block. */
void pvr_vm_set_mem(struct pvr_vm *vm, uint64_t mem_bytes);

/*
 * Rings the keeper's doorbell: "something is set aside". Call it after PREPARE succeeded. It does
 * one non-blocking send(2), allocates nothing and takes no lock.
 * 0: the keeper will run PERFORM. One PERFORM answers all rings before it. If the keeper leaves
 * instead (it was killed, or the caller's user, group or root directory changed), the heir, a
 * thread of the library, runs PERFORM.
 * Negative: the keeper will not. Run PERFORM yourself, and there take -EINVAL for "already done":
 * the heir may have been faster.
 * Errors: -EPIPE (the keeper is gone), -EPERM (the keeper is gone because the VMM changed its
 * rights, as in pvr_vm_set_fd()), -ENOTCONN (pvr_vm_set_fd() did not succeed), -ECHILD.
 */
int pvr_vm_handoff(struct pvr_vm *vm);

/*
 * PREPARE and hand-off in one: the asynchronous form of KVM_PV_DISABLE. The kernel has room for one
 * VM that is set aside. If an earlier hand-off is still queued, this call begins it at once, over
 * the daemon's limit, and tries PREPARE again: the guest does not wait for the queue.
 * 0: the old VM is set aside, and its teardown is guaranteed to run. The keeper runs it; if the
 * keeper is gone, or leaves because the VMM changed its rights, a thread that is made for it; where
 * no thread can be made, this call, which then blocks that long.
 * Negative: nothing was set aside. Use KVM_PV_DISABLE. Errors: those of PREPARE, e.g. -EINVAL for a
 * guest of 2 GiB and less, or while an earlier VM is still set aside; -ENOTCONN; -ECHILD.
 * Blocks as long as PREPARE does (PREPARE destroys the first 2 GiB itself), and for the time that
 * it takes to begin an earlier hand-off: a moment, 1 s at the very most.
 */
int pvr_vm_disable_async(struct pvr_vm *vm);

/*
 * A pollable fd: readable (POLLIN) when pvr_vm_next_outcome() has an outcome. It stays vm's: do not
 * read, write or close it. It never shows POLLHUP. Does not block. Errors: -ECHILD in a fork, no
 * other.
 */
int pvr_vm_get_fd(struct pvr_vm *vm);

/*
 * Reads the next outcome. 1: *ret is filled in. 0: none now. Does not block.
 * size: sizeof(struct pvr_outcome); a larger one, of a later version, is filled up with zeroes.
 * A keeper never waits for a reader: it drops outcomes that do not fit, and counts them
 * (ret->dropped).
 * Errors: -EINVAL (size is less than that of the first version, 48), -ECHILD, -EBADMSG (what came
 * is no outcome), and those of recvmsg(2).
 */
int pvr_vm_next_outcome(struct pvr_vm *vm, struct pvr_outcome *ret, size_t size);

/* "done", "ungoverned", ...: a static string; NULL for a number that is no enum pvr_result. */
const char *pvr_result_to_string(uint32_t result);

/*
 * Lets the keeper go. The VM lives on, and so does vm_fd. Does not block. If the keeper had
 * accepted a hand-off and not begun it, a thread of the library performs it: nothing stays set
 * aside because of this call. A PERFORM that is running goes on. Takes NULL; returns NULL.
 */
struct pvr_vm *pvr_vm_free(struct pvr_vm *vm);

/*
 * For a VMM without keeper: at a VM's end hands the VM to a closer. systemd starts this process for
 * the VM. The closer drops the VM when the daemon says so, and thereby does the teardown that is
 * left, in a cgroup of its own. Needs no struct pvr_vm; any thread, any process.
 * socket_path: the closers' socket, or NULL: PVREAPER_RELEASE_SOCKET, else the default above.
 * vm_fd: stays the caller's. After success the caller closes it at once, and everything else that
 *        holds the VM: fds of vCPUs and devices, mappings of kvm_run. The process that drops the
 *        last of these does the work, and that should be the closer.
 * name, mem_bytes: as for pvr_vm_new() and pvr_vm_set_fd().
 * 0: a closer holds the VM. It outlives the caller.
 * Blocks until then, as a rule for as long as a process takes to start, 10 s at the very most.
 * Errors after which no closer holds the VM, so close vm_fd as you would have: -EBADF,
 * -ENAMETOOLONG, -EMFILE, -ENOMEM; -ENOENT, -ECONNREFUSED (nobody listens), -EACCES, -EPERM (not
 * for this user); -EAGAIN (too many wait already), -EBUSY (no closer could be started: too many run
 * already), -EINVAL (vm_fd is not a VM's), -EPROTO and -EBADMSG (the peer is no closer, or does not
 * understand the library), -ETOOMANYREFS (too many fds of this user in flight).
 * After -ETIMEDOUT (nobody answered) and -ECONNRESET (the closer went away) very likely no closer
 * holds the VM. If one does, it only drops the VM before the caller does.
 */
int pvr_release_vm_fd(const char *socket_path, int vm_fd, const char *name, uint64_t mem_bytes);

#ifdef __cplusplus
}
#endif
