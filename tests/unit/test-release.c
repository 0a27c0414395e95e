/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A VM fd on its way out of a VMM without keeper: the library's call, against closers of every
 * sort; what a closer takes from clients of every sort; and the closer as a worker, for which this
 * test is the daemon. The VM is a pipe, so that its close is seen, and readlink(2) says what
 * the test wants (the linker's --wrap).
 */

#include "capture.h"
#include "daemon.h"
#include "fds.h"
#include "kernel.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/packet.h"
#include "base/util.h"
#include "closer/receive.h"
#include "closer/work.h"

#define MEM (UINT64_C(1) << 32)

static const char *fd_name; /* what /proc calls every fd */
static int vm[2];           /* the end that is the VM's, and the one that sees it close */

ssize_t __wrap_readlink(const char *path, char *buffer, size_t size);

ssize_t __wrap_readlink(const char *path, char *buffer, size_t size) {
        size_t n = strlen(fd_name);

        assert_true(n <= size);
        for (size_t i = 0; i < n; i++) /* without a NUL */
                buffer[i] = fd_name[i];
        return (ssize_t)n;
}

static void set_up(void) {
        int fds[2];

        fd_name = "anon_inode:kvm-vm";
        kernel_reset();
        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        vm[0] = fds[1];
        vm[1] = fds[0];
}

static void tear_down(void) {
        close_fd(&vm[0]);
        close_fd(&vm[1]);
}

/* Whether all that had the VM have closed it. */
static bool vm_is_closed(void) {
        char nothing;

        close_fd(&vm[0]);
        return read(vm[1], &nothing, 1) == 0;
}

static void send_message(int fd, uint16_t type, int error, const int *fd_to_pass) {
        union wire_message m = {.held.error = error};
        int size;

        if (type == WIRE_RELEASE) {
                m = (union wire_message){.release.mem = MEM};
                strcpy(m.release.name, "guest");
        }
        size = wire_encode(&m, WIRE_RELEASE_VERSION, type);
        assert_true(size > 0);
        assert_int_equal(fd_to_pass ? packet_send_fd(fd, &m, (size_t)size, *fd_to_pass)
                                    : packet_send(fd, &m, (size_t)size),
                         0);
}

/* ---- the library's call ---- */

enum closer {
        LEAVES,  /* before READY */
        BABBLES, /* says something else */
        TAKES,   /* and leaves without HELD */
        REFUSES, /* with -ENOSPC */
        HOLDS,   /* all is well */
        _CLOSER_MAX,
};

/* The closer's end of one connection. What it got must be right, or it exits with 1. */
static int be_closer(int listener, enum closer kind) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), vm_fd = -1;
        union wire_message packet, m;
        ssize_t n;

        if (kind == LEAVES)
                return 0;
        send_message(fd, kind == BABBLES ? WIRE_HELD : WIRE_READY, 0, NULL);
        if (kind == BABBLES)
                return 0;
        if (packet_await(fd, now_usec() + 10 * USEC_PER_SEC) < 0)
                return 1;
        n = packet_recv_fd(fd, &packet, sizeof(packet), &vm_fd, NULL);
        if (n <= 0 || wire_decode(&m, WIRE_TO_CLOSER, &packet, (size_t)n) != WIRE_RELEASE ||
            vm_fd < 0 || m.release.mem != MEM || strcmp(m.release.name, "guest") != 0)
                return 1;
        if (kind != TAKES)
                send_message(fd, WIRE_HELD, kind == REFUSES ? -ENOSPC : 0, NULL);
        return 0;
}

static int release_to(enum closer kind) {
        struct sockaddr_un address;
        int r, listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        pid_t pid;

        daemon_address(&address);
        assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(listen(listener, 1), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(be_closer(listener, kind));
        close_fd(&listener);
        r = pvr_release_vm_fd(address.sun_path, vm[0], "guest", MEM);
        assert_int_equal(wait_for_exit(pid), 0);
        assert_int_equal(unlink(address.sun_path), 0);
        return r;
}

static void test_release_answers(void **state) {
        static const int answers[_CLOSER_MAX] = {
                [LEAVES] = -EBUSY,   [BABBLES] = -EBADMSG, [TAKES] = -ECONNRESET,
                [REFUSES] = -ENOSPC, [HOLDS] = 0,
        };

        for (enum closer kind = 0; kind < _CLOSER_MAX; kind++) {
                set_up();
                assert_int_equal(release_to(kind), answers[kind]);
                assert_true(fcntl(vm[0], F_GETFD) >= 0); /* it stays the caller's */
                assert_true(vm_is_closed());
                tear_down();
        }
}

static void test_release_goes_nowhere(void **state) {
        char path[200];

        set_up();
        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        assert_int_equal(pvr_release_vm_fd("/nowhere/at/all", -1, NULL, 0), -EBADF);
        assert_int_equal(pvr_release_vm_fd("/nowhere/at/all", vm[0], NULL, 0), -ENOENT);
        assert_int_equal(pvr_release_vm_fd(path, vm[0], NULL, 0), -ENAMETOOLONG);
        tear_down();
}

/* ---- what a closer takes ---- */

static void pair(int fds[static 2]) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
                         0);
}

static union wire_message hear(int fd, uint16_t type) {
        union wire_message packet, m;
        ssize_t n = packet_recv(fd, &packet, sizeof(packet));

        assert_true(n > 0);
        assert_int_equal(wire_decode(&m, WIRE_TO_CLIENT, &packet, (size_t)n), type);
        return m;
}

static void test_release_is_received(void **state) {
        struct release release = {.vm_fd = -1};
        union wire_message packet;
        int fds[2];

        set_up();
        pair(fds);
        send_message(fds[0], WIRE_RELEASE, 0, &vm[0]);
        assert_int_equal(receive_release(fds[1], &release), 0);
        (void)hear(fds[0], WIRE_READY);
        assert_int_equal(packet_recv(fds[0], &packet, sizeof(packet)), -EAGAIN);
        assert_string_equal(release.name, "guest");
        assert_int_equal(release.mem, MEM);
        assert_int_equal(fcntl(release.vm_fd, F_GETFD), FD_CLOEXEC);
        send_message(fds[0], WIRE_RELEASE, 0, &vm[0]); /* more than was asked for: it goes */
        receive_confirm(fds[1]);
        assert_int_equal(hear(fds[0], WIRE_HELD).held.error, 0);
        assert_int_equal(packet_recv(fds[0], &packet, sizeof(packet)), 0);
        assert_int_equal(packet_send(fds[0], "x", 1), -EPIPE);
        close_fd(&release.vm_fd);
        assert_true(vm_is_closed()); /* though the connection is there */
        close_fd(&fds[0]);
        close_fd(&fds[1]);
        tear_down();
}

/* By a process of its own: what is no VM stays open there, since its close may take for ever. */
static void expect_refusal(int fds[static 2], int error, const char *why) {
        struct release release = {.vm_fd = -1};
        const char *said;
        char who[64];
        pid_t pid;
        int status;

        capture_begin();
        pid = fork();
        if (pid == 0)
                _exit(-receive_release(fds[1], &release));
        close_fd(&fds[1]);
        status = wait_for_exit(pid);
        said = capture_end();
        assert_int_equal(status, -error);
        (void)snprintf(who, sizeof(who), "pid %d of uid %d ", (int)getpid(), (int)getuid());
        assert_non_null(strstr(said, who));
        assert_non_null(strstr(said, why));
        if (fds[0] >= 0) {
                (void)hear(fds[0], WIRE_READY);
                assert_int_equal(hear(fds[0], WIRE_HELD).held.error, error);
        }
        close_fd(&fds[0]);
}

static void test_release_refused(void **state) {
        int fds[2];

        set_up();
        pair(fds);
        send_message(fds[0], WIRE_RELEASE, 0, NULL);
        expect_refusal(fds, -EPROTO, "sent no fd");

        pair(fds);
        assert_int_equal(packet_send_fd(fds[0], "nonsense", 8, vm[0]), 0);
        expect_refusal(fds, -EPROTO, "is no RELEASE");

        pair(fds);
        fd_name = "/a\n\x7f~ ";
        send_message(fds[0], WIRE_RELEASE, 0, &vm[0]);
        expect_refusal(fds, -EINVAL, "sent an fd of /a??~ , which is no VM");

        pair(fds);
        close_fd(&fds[0]);
        expect_refusal(fds, -EPIPE, "left without sending anything");

        pair(fds);
        assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
        expect_refusal(fds, -ENODATA, "left without sending anything");
        assert_true(vm_is_closed());
        tear_down();
}

/* Two fds, of which it has one, and they go. */
static void test_release_of_two(void **state) {
        union {
                struct cmsghdr header;
                char buffer[CMSG_SPACE(2 * sizeof(int))];
        } control = {};
        union wire_message m = {.release.mem = MEM};
        struct iovec iov = {.iov_base = &m};
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buffer,
                .msg_controllen = sizeof(control.buffer),
        };
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&mh);
        int fds[2];

        set_up();
        pair(fds);
        iov.iov_len = (size_t)wire_encode(&m, WIRE_RELEASE_VERSION, WIRE_RELEASE);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(2 * sizeof(int));
        memcpy(CMSG_DATA(cmsg), (int[]){vm[0], vm[0]}, 2 * sizeof(int));
        assert_int_equal(sendmsg(fds[0], &mh, 0), iov.iov_len);
        expect_refusal(fds, -EPROTO, "sent more than one fd");
        assert_true(vm_is_closed());
        tear_down();
}

/* ---- the closer as a worker ---- */

static struct sockaddr_un address;

static pid_t start_closer(void) {
        struct release release = {.vm_fd = -1, .name = "guest", .mem = MEM};
        pid_t pid;
        int signals;

        daemon_address(&address);
        assert_int_equal(setenv("PVREAPER_SOCKET", address.sun_path, 1), 0);
        fflush(NULL);
        pid = fork();
        assert_true(pid >= 0);
        if (pid != 0) {
                close_fd(&vm[0]);
                return pid;
        }
        release.vm_fd = take_fd(&vm[0]);
        signals = work_open_signals();
        _exit(signals < 0 ? 10 : -work(&release, signals));
}

static void await_close(void) {
        struct pollfd pollfd = {.fd = vm[1]};

        assert_int_equal(poll(&pollfd, 1, 10000), 1);
        assert_true(pollfd.revents & POLLHUP);
}

static void end_closer(pid_t pid) {
        assert_int_equal(wait_for_exit(pid), 0);
        daemon_hang_up();
        daemon_deaf();
        assert_int_equal(unsetenv("PVREAPER_SOCKET"), 0);
        tear_down();
}

/* A closer that a daemon has welcomed. */
static pid_t start_welcomed(void) {
        struct wire_register reg;
        union wire_message m;
        pid_t pid;

        set_up();
        kernel.perform_error = EIO;
        daemon_address(&address);
        daemon_listen(&address, 1);
        pid = start_closer();
        daemon_accept();
        reg = daemon_hear_register();
        assert_string_equal(reg.name, "guest");
        assert_int_equal(reg.mem, MEM);
        assert_int_equal(reg.state, WIRE_STATE_WAITING);
        daemon_say(WIRE_VERSION, WIRE_WELCOME, 0);
        m = daemon_hear(WIRE_REQUEST);
        assert_int_equal(m.request.kind, WIRE_KIND_CLOSE);
        assert_int_equal(m.request.mem, MEM);
        return pid;
}

static void test_release_closes_when_granted(void **state) {
        pid_t pid = start_welcomed();
        union wire_message m;
        char nothing;

        assert_int_equal(read(vm[1], &nothing, 1), -1); /* not closed yet */
        daemon_say(WIRE_VERSION, WIRE_GRANT, 1);
        await_close();
        m = daemon_hear(WIRE_DONE);
        assert_int_equal(m.done.outcome.kind, WIRE_KIND_CLOSE);
        assert_int_equal(m.done.outcome.error, -EIO);
        assert_int_equal(m.done.outcome.rc, 1);
        assert_int_equal(m.done.outcome.rrc, 2);
        assert_int_equal(m.done.outcome.ungoverned, 0);
        daemon_say(WIRE_VERSION, WIRE_DONE_ACK, 1);
        end_closer(pid);
}

/* Told to go: it closes at once, and stays a second for the daemon to acknowledge. */
static void test_release_closes_when_told(void **state) {
        pid_t pid = start_welcomed();
        uint64_t begin = now_usec();

        assert_int_equal(kill(pid, SIGTERM), 0);
        await_close();
        assert_int_equal(daemon_hear(WIRE_DONE).done.outcome.ungoverned, 1);
        daemon_hear_end();
        assert_in_range(now_usec() - begin, USEC_PER_SEC * 9 / 10, 9 * USEC_PER_SEC);
        end_closer(pid);
}

static void test_release_sent_away(void **state) {
        pid_t pid = start_welcomed();

        daemon_say(WIRE_VERSION, WIRE_UNGOVERNED, 0);
        await_close();
        end_closer(pid); /* nobody wants to hear of it */
}

static void test_release_closes_alone(void **state) {
        pid_t pid;

        set_up();
        pid = start_closer();
        await_close();
        daemon_listen(&address, 1); /* it comes back to tell */
        daemon_accept();
        assert_int_equal(daemon_hear_register().last.ungoverned, 1);
        daemon_say(WIRE_VERSION, WIRE_DONE_ACK, 1);
        end_closer(pid);
}

static const char *no_bare_recvmsg(void) {
        return is_emulated() ? "recvmsg(2) without a buffer returns 0 unasked (qemu-user)" : NULL;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_release_answers),
                checked_test(test_release_goes_nowhere),
                checked_test_unless(no_bare_recvmsg(), test_release_is_received),
                checked_test_unless(no_bare_recvmsg(), test_release_refused),
                checked_test_unless(no_bare_recvmsg(), test_release_of_two),
                checked_test_unless(no_bare_recvmsg(), test_release_closes_when_granted),
                checked_test_unless(no_bare_recvmsg(), test_release_closes_when_told),
                checked_test_unless(no_bare_recvmsg(), test_release_sent_away),
                checked_test_unless(no_bare_recvmsg(), test_release_closes_alone),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
