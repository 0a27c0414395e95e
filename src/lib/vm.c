/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The API of pvreaper.h. This runs in the VMM's own threads.
 *
 * A struct pvr_vm is owned by its user and, by reference counts, by the heir and by threads that
 * perform for it, since these may outlive pvr_vm_free(). The fds in it never change their number
 * once set (a new VM fd is dup3()ed over the old one), so the heir needs no lock to use them.
 *
 * There are two sockets:
 * - the doorbell: its EOF tells each side that the other is gone;
 * - the outcomes: the sending end stays open here, so that a reader never gets POLLHUP and the heir
 *   can report.
 */

#include "lib/vm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/environment.h"
#include "base/kvm-pv.h"
#include "base/packet.h"
#include "base/result.h"
#include "base/util.h"
#include "lib/raw.h"
#include "lib/teardown.h"

#define FLAGS (PVR_FLAG_DRAIN_NATIVE_AIO)

/* Of the first version that had them. */
#define OPTIONS_SIZE_MIN 32
#define OUTCOME_SIZE_MIN 48
#define OPTIONS_SIZE_MAX 4096 /* more is no size */

_Static_assert(sizeof(struct pvr_vm_options) >= OPTIONS_SIZE_MIN &&
                       sizeof(struct pvr_outcome) >= OUTCOME_SIZE_MIN,
               "members are only added");

#define GRACE_REBOOT_USEC   (60 * USEC_PER_SEC)
#define GRACE_SHUTDOWN_USEC (5 * USEC_PER_SEC)
#define START_TIMEOUT_USEC  (10 * USEC_PER_SEC)
#define HEIR_LOOK_SEC       3600
#define LEAVE_LOOK_USEC     100
#define KILL_LOOKS          10000 /* a second in all */
#define MAPPING_SIZE        (KEEPER_BELOW + sizeof(struct keeper))

/* ---- life and death ---- */

static char *mapping_start(struct keeper *keeper) {
        return (char *)keeper - KEEPER_BELOW;
}

static struct pvr_vm *vm_destroy(struct pvr_vm *vm) {
        close_fd(&vm->bell);
        close_fd(&vm->keeper_bell);
        close_fd(&vm->outcomes);
        close_fd(&vm->outcomes_sink);
        close_fd(&vm->vm_fd);
        if (vm->keeper)
                (void)munmap(mapping_start(vm->keeper), MAPPING_SIZE);
        free(vm);
        return NULL;
}

struct pvr_vm *vm_ref(struct pvr_vm *vm) {
        vm->n_refs++;
        return vm;
}

struct pvr_vm *vm_unref(struct pvr_vm *vm) {
        if (--vm->n_refs == 0)
                vm_destroy(vm);
        return NULL;
}

/* The mapping is empty in a fork (MADV_WIPEONFORK), whatever pid that has. */
bool vm_is_fork(const struct pvr_vm *vm) {
        return vm->keeper && vm->keeper->vmm_pid != vm->owner;
}

/* 0: it is no socket, or there is no such fd. */
static uint64_t inode_of(int fd) {
        struct statx stx = {};

        if (fd < 0 ||
            raw_syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_INO | STATX_TYPE, &stx) < 0)
                return 0;
        return S_ISSOCK(stx.stx_mode) ? stx.stx_ino : 0;
}

bool vm_has_its_fds(const struct pvr_vm *vm) {
        return inode_of(vm->bell) == vm->bell_inode &&
               inode_of(vm->outcomes_sink) == vm->sink_inode;
}

static void send_leave(struct pvr_vm *vm) {
        struct bell leave = {.type = BELL_LEAVE};

        (void)packet_send(vm->bell, &leave, sizeof(leave));
        /* EOF says the same if the queue was full; close() would not, where a fork holds a copy. */
        (void)shutdown(vm->bell, SHUT_RDWR);
}

_public_ struct pvr_vm *pvr_vm_free(struct pvr_vm *vm) {
        if (!vm)
                return NULL;
        if (vm_is_fork(vm))
                return vm_destroy(vm); /* the heir has the other reference, and is not in a child */
        send_leave(vm);
        return vm_unref(vm);
}

/* It does not leave by itself. Inside PERFORM it must not be killed; elsewhere nothing is lost. */
static int stop_keeper(struct pvr_vm *vm) {
        if (vm->keeper->performing != 0)
                return -EBUSY;
        (void)kill(vm->keeper->pid, SIGKILL);
        for (int i = 0; i < KILL_LOOKS && !vm->keeper_gone; i++)
                (void)usleep(LEAVE_LOOK_USEC);
        return vm->keeper_gone ? 0 : -EBUSY;
}

int vm_let_go(struct pvr_vm *vm, uint64_t timeout_usec) {
        uint64_t deadline = now_usec() + timeout_usec;

        send_leave(vm);
        while (!vm->keeper_gone) {
                if (now_usec() >= deadline)
                        return stop_keeper(vm);
                (void)usleep(LEAVE_LOOK_USEC);
        }
        return 0;
}

DEFINE_FREEP(pvr_vm)

/* ---- what a keeper must not be beside ---- */

/*
 * Whether the end of this VMM's pid would be the end of its writes: see FENCING in
 * pv-reaper-qemu(7). -EBUSY: native AIO is in use, and nobody waits for it. Another negative errno:
 * not known. That is an error also with PVR_FLAG_DRAIN_NATIVE_AIO: the guard must find native AIO
 * to wait for it.
 */
static int check_aio(const struct pvr_vm *vm) {
        int r = space_has_aio();

        if (r < 0)
                return r;
        return r > 0 && !vm->drains ? -EBUSY : 0;
}

/* The keeper must not stay: it goes. Returns error. */
static int part(struct pvr_vm *vm, int error) {
        vm->keeper_has_fd = false;
        send_leave(vm);
        return error;
}

bool vm_is_itself(struct pvr_vm *vm) {
        bool same = identity_is_same(&vm->keeper->identity);

        if (!same)
                (void)part(vm, -EPERM);
        return same;
}

/* ---- making one ---- */

static int socket_pair(int *ret_a, int *ret_b) {
        int fds[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return negative_errno();
        *ret_a = fds[0];
        *ret_b = fds[1];
        r = above_stdio(ret_a);
        return r < 0 ? r : above_stdio(ret_b);
}

/* The kernel says with each packet who sent it. */
static int pass_credentials(int fd) {
        int one = 1;

        return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0 ? negative_errno()
                                                                              : 0;
}

static int map_keeper(struct keeper **ret) {
        const size_t half = KEEPER_BELOW / 2;
        char *start = mmap(NULL, MAPPING_SIZE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

        if (start == MAP_FAILED)
                return negative_errno();
        /* A stack that grows too far must not reach somebody else's memory. */
        if (mprotect(start, KEEPER_GUARD_SIZE, PROT_NONE) < 0 ||
            mprotect(start + half, KEEPER_GUARD_SIZE, PROT_NONE) < 0 ||
            madvise(start + KEEPER_BELOW, MAPPING_SIZE - KEEPER_BELOW, MADV_WIPEONFORK) < 0) {
                int r = negative_errno();

                (void)munmap(start, MAPPING_SIZE);
                return r;
        }
        *ret = (struct keeper *)(void *)(start + KEEPER_BELOW);
        return 0;
}

/* /proc may be that of another pid namespace, where our number is somebody else's. */
static bool is_own_proc(void) {
        char text[32] = "";

        return readlink("/proc/self", text, sizeof(text) - 1) > 0 && atoi(text) == getpid();
}

/* "/proc/PID/stat", without stdio, which this library does not use. */
static void format_stat_path(char ret[static KEEPER_STAT_SIZE], pid_t pid) {
        char digits[16];
        size_t n = sizeof(digits);

        digits[--n] = '\0';
        do
                digits[--n] = (char)('0' + pid % 10);
        while ((pid /= 10) > 0);
        memcpy(stpcpy(stpcpy(ret, "/proc/"), digits + n), "/stat", sizeof("/stat"));
}

static int vm_init(struct pvr_vm *vm, const struct pvr_vm_options *options) {
        struct keeper *k;
        int r;

        r = map_keeper(&vm->keeper);
        if (r < 0)
                return r;
        k = vm->keeper; /* zeroes, as the kernel made it */
        link_init(&k->link);
        r = environment_socket(&k->link.address, NULL, "PVREAPER_SOCKET", HANDOFF_SOCKET);
        if (r < 0)
                return r;
        r = socket_pair(&vm->bell, &vm->keeper_bell);
        if (r < 0)
                return r;
        r = socket_pair(&vm->outcomes, &vm->outcomes_sink);
        if (r < 0)
                return r;
        r = pass_credentials(vm->keeper_bell);
        if (r < 0)
                return r;
        vm->bell_inode = inode_of(vm->bell);
        vm->sink_inode = inode_of(vm->outcomes_sink);
        k->vmm_pid = vm->owner;
        identity_read(&k->identity);
        if (is_own_proc())
                format_stat_path(k->vmm_stat, vm->owner);
        k->link.flags = vm->drains ? WIRE_FLAG_DRAINS : 0;
        k->bell = vm->keeper_bell;
        k->outcomes = vm->outcomes_sink;
        k->vmm = k->vmm_stat_fd = k->vm_fd = k->guard = k->guard_stat = -1;
        space_init(&k->space);
        if (options->name)
                memcpy(k->link.name, options->name, strnlen(options->name, sizeof(k->link.name)));
        if (options->uuid)
                memcpy(k->link.uuid, options->uuid, sizeof(k->link.uuid));
        k->grace_reboot_usec = environment_grace(GRACE, GRACE_REBOOT_USEC);
        k->grace_shutdown_usec = environment_grace(GRACE, GRACE_SHUTDOWN_USEC);
        k->link.grant_grace = environment_grace(GRANT_GRACE, GRANT_GRACE_USEC);
        filter_build(&k->filter);
        return 0;
}

static int await_ready(struct pvr_vm *vm) {
        struct bell ready = {};
        int r, fd = -1;

        r = packet_await(vm->bell, now_usec() + START_TIMEOUT_USEC);
        if (r < 0)
                return r;
        if (packet_recv_fd(vm->bell, &ready, sizeof(ready), &fd, NULL) <= 0)
                return vm->clone_error < 0 ? vm->clone_error : -EAGAIN;
        return ready.error;
}

/* The options of a caller of any version, in this version's form. */
static int read_options(struct pvr_vm_options *ret, const struct pvr_vm_options *options) {
        const char *bytes = (const char *)options;

        *ret = (struct pvr_vm_options){};
        if (!options)
                return 0;
        if (options->size < OPTIONS_SIZE_MIN || options->size > OPTIONS_SIZE_MAX)
                return -EINVAL;
        for (size_t i = sizeof(*ret); i < options->size; i++)
                if (bytes[i] != 0)
                        return -EINVAL; /* something that we do not know was asked for */
        memcpy(ret, options, options->size < sizeof(*ret) ? options->size : sizeof(*ret));
        return (ret->flags & ~(uint32_t)FLAGS) != 0 || ret->reserved != 0 ? -EINVAL : 0;
}

_public_ int pvr_vm_new(struct pvr_vm **ret, const struct pvr_vm_options *options) {
        _cleanup_(pvr_vm_freep) struct pvr_vm *vm = NULL;
        struct pvr_vm_options known;
        int r;

        if (!ret)
                return -EINVAL;
        r = read_options(&known, options);
        if (r < 0)
                return r;
        vm = calloc(1, sizeof(*vm));
        if (!vm)
                return -ENOMEM;
        vm->owner = getpid();
        vm->n_refs = 1;
        vm->heir_look_sec = HEIR_LOOK_SEC;
        vm->bell = vm->keeper_bell = vm->outcomes = vm->outcomes_sink = vm->vm_fd = -1;
        vm->drains = known.flags & PVR_FLAG_DRAIN_NATIVE_AIO;
        r = check_aio(vm);
        if (r < 0)
                return r;
        r = vm_init(vm, &known);
        if (r < 0)
                return r;
        r = heir_start(vm);
        if (r < 0)
                return r;
        r = await_ready(vm);
        if (r < 0)
                return r;
        *ret = vm;
        vm = NULL;
        return 0;
}

/* ---- using it ---- */

/*
 * A full doorbell counts as rung (pvr_vm_handoff()), which is true only while rings fill it: so
 * this rare packet is refused long before it could.
 */
static int bell_has_room(int bell) {
        int queued = 0;

        if (ioctl(bell, TIOCOUTQ, &queued) < 0)
                return negative_errno();
        return queued > 16 * 1024 ? -EAGAIN : 0;
}

/* If the keeper died and left something unread, the kernel says so once, with another word. */
static int bell_result(const struct pvr_vm *vm, int r) {
        if (r != -ECONNRESET && r != -EPIPE)
                return r;
        return vm->keeper->differs ? -EPERM : -EPIPE;
}

/* Nobody can ask KVM whether a guest is or was a protected one, only whether there can be any. */
static bool is_protectable(int vm_fd) {
        return ioctl(vm_fd, PV_CHECK_EXTENSION, PV_CAP_PROTECTED) > 0;
}

_public_ void pvr_vm_set_mem(struct pvr_vm *vm, uint64_t mem_bytes) {
        if (!vm_is_fork(vm))
                vm->keeper->link.mem = mem_bytes;
}

_public_ int pvr_vm_set_fd(struct pvr_vm *vm, int vm_fd, uint64_t mem_bytes) {
        struct bell bell = {.type = BELL_SET_FD};
        int r;

        if (vm_is_fork(vm))
                return -ECHILD;
        if (!vm_is_itself(vm))
                return -EPERM;
        r = check_aio(vm);
        if (r < 0)
                return part(vm, r);
        r = bell_has_room(vm->bell);
        if (r < 0)
                return r;
        if (vm->vm_fd < 0) {
                r = fcntl(vm_fd, F_DUPFD_CLOEXEC, 3);
                if (r < 0)
                        return negative_errno();
                vm->vm_fd = r;
        } else if (dup3(vm_fd, vm->vm_fd, O_CLOEXEC) < 0) {
                return negative_errno();
        }
        if (is_protectable(vm_fd))
                vm->keeper->space.maybe_protected = true;
        pvr_vm_set_mem(vm, mem_bytes);
        vm->keeper_has_fd = false; /* if it is not told, rings would be about another VM, or none */
        r = bell_result(vm, packet_send_fd(vm->bell, &bell, sizeof(bell), vm->vm_fd));
        vm->keeper_has_fd = r >= 0;
        return r;
}

/* Model: vmm_ring. */
_public_ int pvr_vm_handoff(struct pvr_vm *vm) {
        struct bell bell = {.type = BELL_RING};
        int r;

        if (vm_is_fork(vm))
                return -ECHILD;
        if (!vm->keeper_has_fd)
                return -ENOTCONN;
        vm->keeper->space.maybe_protected = true;
        vm->keeper->rings++;
        r = packet_send(vm->bell, &bell, sizeof(bell));
        /* Full of rings that nobody read yet: the PERFORM that they cause takes it. */
        if (r == 0 || r == -EAGAIN)
                return 0;
        vm->keeper->rings--; /* the caller's PERFORM takes it */
        /* Or a PERFORM that began meanwhile has counted it. */
        if (vm->keeper->rings_taken > vm->keeper->rings)
                vm->keeper->rings_taken = vm->keeper->rings;
        return bell_result(vm, r);
}

_public_ int pvr_vm_get_fd(struct pvr_vm *vm) {
        return vm_is_fork(vm) ? -ECHILD : vm->outcomes;
}

_public_ int pvr_vm_next_outcome(struct pvr_vm *vm, struct pvr_outcome *ret, size_t size) {
        struct pvr_outcome outcome;
        int fd = -1;
        ssize_t n;

        if (vm_is_fork(vm))
                return -ECHILD;
        if (size < OUTCOME_SIZE_MIN)
                return -EINVAL;
        n = packet_recv_fd(vm->outcomes, &outcome, sizeof(outcome), &fd, NULL);
        if (n == -EAGAIN)
                return 0;
        if (n != sizeof(outcome))
                return n < 0 ? (int)n : -EBADMSG;
        memset(ret, 0, size);
        memcpy(ret, &outcome, size < sizeof(outcome) ? size : sizeof(outcome));
        return 1;
}

_public_ uint32_t pvr_version(void) {
        return PVR_VERSION;
}

_public_ const char *pvr_result_to_string(uint32_t result) {
        return result_to_string(result);
}
