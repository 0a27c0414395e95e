/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * puppet SOCKET BEAT: a worker in the eyes of the daemon that does and says what it is told. The
 * program plays the VMM; its CLONE_VM child, the worker, connects to SOCKET and passes the
 * connection to whoever asked, so that the packets are somebody else's but the credentials, which
 * are those of the moment of connect(2), the worker's.
 *
 * Orders are packets on stdin (SOCK_SEQPACKET), each answered there with a struct answer:
 *   connect  a new connection of this worker (SCM_RIGHTS)
 *   sibling  one of a second worker in the same address space, a child of the VMM too
 *   child    the same, but a child of this worker
 *   thread   nothing: this worker has a thread more, which sleeps
 *   touch    nothing: it takes 512 MiB of memory, page by page
 *   burn     nothing but 20 ms of CPU time
 * Between two orders the worker sleeps. Every BEAT ms it uses 1 ms of CPU time, so that it is never
 * overdue, or not at all if that is -1. It leaves at the end of stdin, the VMM with it, and the
 * second worker with its parent.
 *
 * All of them share memory and TLS, so only one may run at a time: whoever asked waits for the
 * answer, after which its sender sleeps.
 */

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STACK_SIZE (64 * 1024)
#define BURN_NSEC  20000000
#define BEAT_NSEC  1000000

#define TOUCH_BYTES (512UL << 20)
#define THREAD_FLAGS                                                                               \
        (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

struct answer {
        int pid;   /* of the worker */
        int error; /* 0 or a positive errno */
};

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int beat_msec;
static char stacks[2][STACK_SIZE] __attribute__((aligned(16)));

/* fd: goes along; -1: none */
static void answer_send(const struct answer *answer, int fd) {
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
        struct answer copy = *answer;
        struct iovec iov = {&copy, sizeof(copy)};
        struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

        if (fd >= 0) {
                memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
                message.msg_control = &control;
                message.msg_controllen = sizeof(control);
        }
        (void)!sendmsg(STDIN_FILENO, &message, MSG_NOSIGNAL);
}

static void connect_and_answer(void) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct answer answer = {.pid = getpid()};

        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
                answer.error = errno;
                answer_send(&answer, -1);
        } else {
                answer_send(&answer, fd);
        }
        close(fd);
}

static int second_worker_main(void *userdata) {
        prctl(PR_SET_NAME, "pvr-second");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        connect_and_answer();
        while (pause() < 0) /* it only returns to say that a signal came */
                ;
        return 0;
}

static void second_worker_start(int flags) {
        pid_t pid = clone(second_worker_main, stacks[1] + STACK_SIZE, CLONE_VM | flags, NULL);
        struct answer answer = {.error = errno};

        if (pid < 0)
                answer_send(&answer, -1);
}

static void use_cpu(long nsec) {
        struct timespec start, now;

        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
        do
                clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        while ((now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec < nsec);
}

static void burn(void) {
        struct answer answer = {.pid = getpid()};

        use_cpu(BURN_NSEC);
        answer_send(&answer, -1);
}

static int thread_main(void *userdata) {
        while (pause() < 0)
                ;
        return 0;
}

static void thread_start(void) {
        struct answer answer = {.pid = getpid()};

        if (clone(thread_main, stacks[1] + STACK_SIZE, THREAD_FLAGS, NULL) < 0)
                answer.error = errno;
        answer_send(&answer, -1);
}

static void touch(void) {
        struct answer answer = {.pid = getpid()};
        char *memory = mmap(NULL, TOUCH_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (memory == MAP_FAILED)
                answer.error = errno;
        for (size_t i = 0; answer.error == 0 && i < TOUCH_BYTES; i += 4096)
                memory[i] = 1;
        answer_send(&answer, -1);
}

static ssize_t read_order(char *order, size_t size) {
        struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

        while (poll(&in, 1, beat_msec) <= 0)
                use_cpu(BEAT_NSEC);
        return read(STDIN_FILENO, order, size);
}

static int worker_main(void *userdata) {
        char order[16] = {};

        prctl(PR_SET_NAME, "pvr-puppet");
        while (read_order(order, sizeof(order) - 1) > 0) {
                if (strcmp(order, "sibling") == 0)
                        second_worker_start(CLONE_PARENT);
                else if (strcmp(order, "child") == 0)
                        second_worker_start(0);
                else if (strcmp(order, "thread") == 0)
                        thread_start();
                else if (strcmp(order, "touch") == 0)
                        touch();
                else if (strcmp(order, "burn") == 0)
                        burn();
                else
                        connect_and_answer();
                memset(order, 0, sizeof(order));
        }
        _exit(0);
}

int main(int argc, char *argv[]) {
        pid_t pid;

        if (argc != 3 || strlen(argv[1]) >= sizeof(address.sun_path))
                return 2;
        strcpy(address.sun_path, argv[1]);
        beat_msec = atoi(argv[2]);
        pid = clone(worker_main, stacks[0] + STACK_SIZE, CLONE_VM, NULL);
        if (pid < 0)
                return 1;
        close(STDIN_FILENO); /* its end is the worker's to see */
        while (syscall(SYS_waitid, P_PID, pid, NULL, WEXITED | __WALL, NULL) < 0 && errno == EINTR)
                ;
        return 0;
}
