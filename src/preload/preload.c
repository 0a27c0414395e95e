/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libpvreaper-preload.so: LD_PRELOAD puts it in front of a stock QEMU. It gives QEMU a keeper and
 * hands PERFORM over to that keeper. QEMU does not know.
 *
 * A constructor makes the keeper before main(), since QEMU's sandbox forbids it later. With
 * -daemonize the process that will be QEMU is a child's child. Then the keeper is made only there.
 *
 * ioctl(2) is interposed. Four requests are looked at. All others, KVM_RUN among them, pass with a
 * few comparisons and a call through a pointer, without a lock or a write. The four are safe in any
 * thread. In a signal handler they are as safe as the calls of QEMU that they wrap:
 * - KVM_CREATE_VM: from now on a number may mean another VM.
 * - KVM_SET_USER_MEMORY_REGION(2): the first one tells the keeper which VM it is for. KVM_CREATE_VM
 *   does not: QEMU makes a VM only to try what the host can do, and that VM never has memory. Later
 *   ones change the VM's size, which is a store to memory that the keeper shares.
 * - KVM_S390_PV_COMMAND with PREPARE: the library does it, and makes room if an earlier hand-off is
 *   still queued.
 * - KVM_S390_PV_COMMAND with PERFORM: the keeper does it, if it takes it.
 *
 * io_setup(3) of libaio is interposed, too. The kernel waits for native AIO when the last process
 * leaves an address space. With a keeper QEMU is not the last: its pid is gone while its writes
 * still land. So keeper and native AIO exclude each other, unless PVREAPER_NATIVE_AIO=drain says
 * that somebody waits until the VM is quiet.
 *
 * libpvreaper is linked in statically, since its own ioctl() must go around this one: the linker's
 * --wrap=ioctl turns each reference in it into one to __wrap_ioctl(). Another interposer of
 * ioctl(2) behind this library, a tracer or a simulator, is still asked.
 */

#include <dlfcn.h>
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/kvm-pv.h"
#include "base/util.h"
#include "lib/vm.h"
#include "preload/cmdline.h"
#include "preload/slots.h"

#define _public_ __attribute__((visibility("default")))

#define SET_USER_MEMORY_REGION2 0x40A0AE49u /* Linux 6.8; begins like the first */

/* Of the process that was started; a child's is one more, a child's child's 2. */
#define DAEMON_GENERATION 2

#define LET_GO_USEC USEC_PER_SEC

int __wrap_ioctl(int fd, unsigned long request, ...);
int io_setup(int maxevents, void *ret);

/* The next ioctl(2) behind this one; NULL until the constructor ran. Constant afterwards. */
static int (*next_ioctl)(int fd, unsigned long request, ...);

static struct cmdline cmdline;
static unsigned generation;
static bool drains; /* PVREAPER_NATIVE_AIO=drain; constant after our constructor */

static _Atomic(struct pvr_vm *) keeper; /* NULL: there never was one */
static _Atomic bool let_go;             /* it has left, or will */

static struct slots slots;
static _Atomic int known_fd = -1; /* the VM that slots are about */
static _Atomic int newer_fd = -1; /* a VM made since, which has no memory yet */
static _Atomic bool told;         /* the keeper knows known_fd */
static atomic_flag telling = ATOMIC_FLAG_INIT;

/* ---- messages to the user: one line on standard error each ---- */

#define SEE "; see FENCING in pv-reaper-qemu(7)"

static void say(const char *what, const char *more) {
        (void)dprintf(STDERR_FILENO, "pv-reaper: %s: %s%s\n", program_invocation_short_name, what,
                      more);
}

static void complain(int error) {
        say("cannot make a keeper; QEMU runs without one: ", strerror(-error));
}

/* ---- ioctl ---- */

static int pass_on(int fd, unsigned long request, void *arg) {
        if (!next_ioctl) /* somebody else's constructor */
                return (int)syscall(SYS_ioctl, fd, request, arg);
        return next_ioctl(fd, request, arg);
}

/* The library's own. */
int __wrap_ioctl(int fd, unsigned long request, ...) {
        va_list ap;
        void *arg;

        va_start(ap, request);
        arg = va_arg(ap, void *);
        va_end(ap);
        return pass_on(fd, request, arg);
}

static int on_create_vm(int fd, unsigned long request, void *arg) {
        int r = pass_on(fd, request, arg);

        if (r >= 0)
                newer_fd = r;
        return r;
}

/* QEMU is other than its command line said. Any thread; says so once. */
static void note_left(int error) {
        if (!atomic_exchange(&let_go, true))
                say("the keeper has left; QEMU runs without one: ", strerror(-error));
}

/* pvr_vm_set_fd() is not for two threads at once: the second thread leaves it to a later one. */
static void tell(struct pvr_vm *vm, int fd) {
        int r;

        if (atomic_flag_test_and_set(&telling))
                return;
        r = pvr_vm_set_fd(vm, fd, slots.total);
        told = r >= 0;
        if (r == -EPERM || r == -EBUSY)
                note_left(r);
        atomic_flag_clear(&telling);
}

/* QEMU changes slots under a lock of its own, so a VM's first one comes alone. */
static void note_region(struct pvr_vm *vm, int fd,
                        const struct kvm_userspace_memory_region *region) {
        if (fd == newer_fd || known_fd < 0) {
                slots_reset(&slots);
                told = false;
                known_fd = fd;
                newer_fd = -1;
        }
        if (fd != known_fd)
                return;
        slots_set(&slots, region->slot, region->flags, region->memory_size);
        pvr_vm_set_mem(vm, slots.total);
        if (!told)
                tell(vm, fd);
}

static int on_set_region(int fd, unsigned long request, void *arg) {
        struct pvr_vm *vm = keeper;
        int saved = errno, r;

        r = pass_on(fd, request, arg);
        if (r < 0 || !vm || let_go)
                return r;
        note_region(vm, fd, arg);
        errno = saved;
        return r;
}

/* A result of the library's in the words of ioctl(2). */
static int as_ioctl(int r) {
        if (r >= 0)
                return r;
        errno = -r;
        return -1;
}

/*
 * QEMU calls exit(1) if PERFORM fails. -EINVAL, where the keeper may have been told before it died
 * or was let go, says that somebody has already done it.
 */
static int on_perform(struct pvr_vm *vm, int fd, unsigned long request, void *arg) {
        int saved = errno, r;

        r = pvr_vm_handoff(vm);
        if (r < 0)
                r = pass_on(fd, request, arg);
        if (r < 0 && errno != EINVAL)
                return r;
        errno = saved;
        return 0;
}

static int on_prepare(struct pvr_vm *vm, int fd, struct pv_cmd *cmd) {
        if (!let_go && !vm_is_fork(vm) && !vm_is_itself(vm))
                note_left(-EPERM);
        return as_ioctl(vm_prepare(vm, fd, cmd));
}

static int on_pv_command(int fd, unsigned long request, void *arg) {
        struct pv_cmd *cmd = arg;
        struct pvr_vm *vm = keeper;

        if (vm && fd == known_fd && cmd->cmd == PV_ASYNC_CLEANUP_PREPARE)
                return on_prepare(vm, fd, cmd);
        if (vm && fd == known_fd && cmd->cmd == PV_ASYNC_CLEANUP_PERFORM)
                return on_perform(vm, fd, request, arg);
        return pass_on(fd, request, arg);
}

/* Requests have 32 bits; callers differ in whether they sign-extend them. */
_public_ int ioctl(int fd, unsigned long request, ...) {
        va_list ap;
        void *arg;

        va_start(ap, request);
        arg = va_arg(ap, void *);
        va_end(ap);
        switch ((uint32_t)request) {
        case KVM_CREATE_VM:
                return on_create_vm(fd, request, arg);
        case KVM_SET_USER_MEMORY_REGION:
        case SET_USER_MEMORY_REGION2:
                return on_set_region(fd, request, arg);
        case PV_COMMAND:
                return on_pv_command(fd, request, arg);
        default:
                return pass_on(fd, request, arg);
        }
}

/* ---- native AIO ---- */

/*
 * vm stays, since other threads may be in a call on it, and what the keeper had taken its heir will
 * do. A child of fork() has no keeper to let go. -EAGAIN: it cannot leave now.
 */
static int let_keeper_go(struct pvr_vm *vm) {
        static bool gone;
        int r;

        if (gone || pvr_vm_get_fd(vm) < 0)
                return 0;
        let_go = true;
        r = vm_let_go(vm, LET_GO_USEC);
        if (r < 0) {
                say("native AIO: refused: the keeper is in the middle of a teardown; try later",
                    SEE);
                return -EAGAIN;
        }
        gone = true;
        say("native AIO: no keeper from now on; PVREAPER_NATIVE_AIO=drain keeps one", SEE);
        return 0;
}

/*
 * libaio's: 0 or a negative errno; errno itself is left alone. May come from any thread.
 * -EAGAIN, as where the kernel has no more contexts: with a keeper that cannot leave, QEMU's writes
 * could land after its pid is gone.
 */
_public_ int io_setup(int maxevents, void *ret) {
        static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* a second thread waits */
        int (*next)(int, void *) = (int (*)(int, void *))dlsym(RTLD_NEXT, "io_setup");
        struct pvr_vm *vm = keeper;
        int saved = errno, r = 0;

        if (vm && !drains) {
                (void)pthread_mutex_lock(&mutex);
                r = let_keeper_go(vm);
                (void)pthread_mutex_unlock(&mutex);
        }
        if (r < 0)
                ;
        else if (next)
                r = next(maxevents, ret);
        else /* libaio is not among the program's own libraries */
                r = syscall(SYS_io_setup, maxevents, ret) < 0 ? negative_errno() : 0;
        errno = saved;
        return r;
}

/* ---- the keeper ---- */

static void start_keeper(void) {
        const struct pvr_vm_options options = {.size = sizeof(options),
                                               .flags = drains ? PVR_FLAG_DRAIN_NATIVE_AIO : 0,
                                               .name = cmdline.name,
                                               .uuid = cmdline.uuid};
        struct pvr_vm *vm = NULL;
        int r;

        r = pvr_vm_new(&vm, &options);
        if (r < 0)
                complain(r);
        else
                keeper = vm;
}

/* QEMU's own thread for RCU is made again at the same place. */
static void on_fork_child(void) {
        if (++generation == DAEMON_GENERATION)
                start_keeper();
}

/* 1 and 0 are the user's word; it is ignored where the environment is not to be trusted. */
static bool is_wanted(const char *argv0) {
        const char *word = secure_getenv("PVREAPER_PRELOAD");

        if (word && *word)
                return strcmp(word, "1") == 0;
        return cmdline_is_qemu(argv0);
}

static void read_native_aio(void) {
        const char *word = secure_getenv("PVREAPER_NATIVE_AIO");

        drains = word && strcmp(word, "drain") == 0;
        if (word && *word && !drains && strcmp(word, "let-go") != 0)
                say("set PVREAPER_NATIVE_AIO to drain or let-go; let-go is used instead of ", word);
}

/* Whether a keeper could do no harm to this QEMU; else it says why not. */
static bool may_have_keeper(void) {
        if (cmdline.gives_up_rights) {
                say("no keeper with -runas, -chroot, -run-with user= or chroot=",
                    ": it would keep rights that QEMU gives up; start QEMU as its final user");
                return false;
        }
        read_native_aio();
        if (!cmdline.native_aio || drains)
                return true;
        say("aio=native: no keeper; PVREAPER_NATIVE_AIO=drain makes one", SEE);
        return false;
}

__attribute__((constructor)) static void preload(int argc, char **argv) {
        int r;

        next_ioctl = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
        if (argc < 1 || !is_wanted(argv[0]))
                return;
        cmdline_parse(&cmdline, argc, argv);
        if (cmdline.no_guest || !may_have_keeper())
                return;
        if (!cmdline.daemonize) {
                start_keeper();
                return;
        }
        r = pthread_atfork(NULL, NULL, on_fork_child);
        if (r != 0)
                complain(-r);
}
