/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * puppet SOCKET: a worker in the eyes of the daemon, with everything it says decided elsewhere. The
 * program plays the VMM; a CLONE_VM child of it, the worker, connects to SOCKET whenever a packet
 * of any sort arrives on stdin (a SOCK_SEQPACKET socket), and answers there with a struct answer
 * and the connection (SCM_RIGHTS). The connection's credentials are those of the moment of
 * connect(2), so the daemon takes the child for its peer whoever speaks on it from then on.
 *
 * The worker uses a little CPU all the time, so it is never overdue. It leaves at the end of file
 * on stdin, the VMM with it. The two share memory and TLS: whoever waits in waitid(2) does not
 * touch it.
 */

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_SIZE   (64 * 1024)
#define HEARTBEAT_MS 200

struct answer {
        int pid;   /* of the worker */
        int error; /* 0 or a positive errno of connect(2) */
};

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static char stack[STACK_SIZE] __attribute__((aligned(16)));

static int connection_new(struct answer *answer) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        answer->pid = getpid();
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                answer->error = errno;
        return fd;
}

static void answer_send(struct answer *answer, int fd) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
        struct iovec iov = {answer, sizeof(*answer)};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

        if (answer->error == 0) {
                memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
                message.msg_control = &control;
                message.msg_controllen = sizeof(control);
        }
        (void)!sendmsg(STDIN_FILENO, &message, MSG_NOSIGNAL);
}

static int worker_main(void *userdata) {
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
        char order[16];

        prctl(PR_SET_NAME, "pvr-puppet");
        for (;;) {
                struct answer answer = {};
                int fd;

                if (poll(&in, 1, HEARTBEAT_MS) <= 0)
                        continue;
                if (read(STDIN_FILENO, order, sizeof(order)) <= 0)
                        _exit(0);
                fd = connection_new(&answer);
                answer_send(&answer, fd);
                close(fd);
        }
}

int main(int argc, char *argv[]) {
        pid_t pid;

        if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path))
                return 2;
        strcpy(address.sun_path, argv[1]);
        pid = clone(worker_main, stack + sizeof(stack), CLONE_VM, NULL);
        if (pid < 0)
                return 1;
        close(STDIN_FILENO); /* its end is the worker's to see */
        while (syscall(SYS_waitid, P_PID, pid, NULL, WEXITED | __WALL, NULL) < 0 && errno == EINTR)
                ;
        return 0;
}
