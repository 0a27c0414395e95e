/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A parting is in one of two lists. One that waits owns the socket. One that leaves owns the pidfd
 * of a child, which alone has the socket. An end of a child, or a second after none could be made,
 * lets the next one leave.
 */

#include "daemon/worker/parting.h"

#include <stdlib.h>

#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/process.h"

#define RETRY_USEC (1 * USEC_PER_SEC)

struct parting {
        struct partings *partings;

        /* owned */
        int fd;    /* waiting: the connection; leaving: -1 */
        int child; /* leaving: its pidfd; else -1 */
        struct charge charge;

        sd_event_source *end_source;

        LIST_ENTRY(parting) link;
};

/* Lines that any peer can cause. */
static struct log_limit parting_limit;

/*
 * A child closes the socket: it waits until we closed our copy, so that the last reference, and
 * with it whatever close(2) has to do, is its own. SIGCHLD is ignored (main.c), so nobody waits for
 * it.
 */
_Noreturn static void close_in_child(int fd, int gate) {
        char c;

        (void)dup3(fd, 0, O_CLOEXEC);
        (void)dup3(gate, 1, O_CLOEXEC);
        (void)syscall(SYS_close_range, 2U, ~0U, 0U);
        (void)!read(1, &c, 1);
        _exit(EXIT_SUCCESS);
}

/* Closes *fd elsewhere. ret_child: a pidfd, as long as the child has not ended; -1: none to get. */
static int close_elsewhere(int *fd, int *ret_child) {
        int gate[2], r = 0;
        pid_t pid;

        if (pipe2(gate, O_CLOEXEC) < 0)
                return negative_errno();
        pid = fork();
        if (pid == 0)
                close_in_child(*fd, gate[0]);
        if (pid < 0) {
                r = negative_errno();
        } else {
                *ret_child = process_open(pid); /* it waits at the gate */
                close_fd(fd);
        }
        close_fd(&gate[0]);
        close_fd(&gate[1]);
        return r;
}

static void parting_free(struct parting *p) {
        p->end_source = sd_event_source_disable_unref(p->end_source);
        LIST_REMOVE(p, link);
        p->partings->n--;
        charge_give(&p->charge);
        close_fd(&p->child);
        free(p);
}

/* ---- leaving ---- */

static void let_leave(struct partings *ps);

static int on_child_end(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct parting *p = userdata;
        struct partings *ps = p->partings;

        ps->n_leaving--;
        parting_free(p);
        let_leave(ps);
        return 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        let_leave(userdata);
        return 0;
}

static void try_again(struct partings *ps) {
        if (!ps->retry_timer)
                (void)loop_add_timer(&ps->retry_timer, ps->event, on_retry, ps);
        if (ps->retry_timer)
                loop_timer_in(ps->retry_timer, RETRY_USEC);
}

/* Negative: no child. */
static int leave(struct parting *p) {
        struct partings *ps = p->partings;
        int r;

        r = close_elsewhere(&p->fd, &p->child);
        if (r < 0)
                return r;
        LIST_REMOVE(p, link);
        LIST_INSERT_HEAD(&ps->leaving, p, link);
        ps->n_leaving++;
        if (p->child >= 0)
                r = sd_event_add_io(ps->event, &p->end_source, p->child, EPOLLIN, on_child_end, p);
        if (p->child < 0 || r < 0) { /* nobody can tell when it ends */
                ps->n_leaving--;
                parting_free(p);
        }
        return 0;
}

static void let_leave(struct partings *ps) {
        int r = 0;

        while (r >= 0 && !LIST_EMPTY(&ps->waiting) && ps->n_leaving < PARTING_CHILDREN_MAX)
                r = leave(LIST_FIRST(&ps->waiting));
        if (r >= 0)
                return;
        log_warning_limited(&parting_limit, r, "cannot close a connection that carries fds");
        try_again(ps);
}

void partings_add(struct partings *ps, int *fd, struct charge *charge) {
        struct parting *p = calloc(1, sizeof(*p));
        int child = -1;

        if (!p) {
                if (close_elsewhere(fd, &child) < 0)
                        *fd = -1; /* rather leak one fd than hang */
                close_fd(&child);
                charge_give(charge);
                return;
        }
        *p = (struct parting){.partings = ps, .fd = take_fd(fd), .child = -1, .charge = *charge};
        *charge = (struct charge){};
        LIST_INSERT_HEAD(&ps->waiting, p, link);
        ps->n++;
        let_leave(ps);
}

void partings_deinit(struct partings *ps) {
        struct parting *p;

        while ((p = LIST_FIRST(&ps->waiting))) {
                (void)close_elsewhere(&p->fd, &p->child);
                parting_free(p);
        }
        while ((p = LIST_FIRST(&ps->leaving)))
                parting_free(p);
        ps->n_leaving = 0;
        ps->retry_timer = sd_event_source_disable_unref(ps->retry_timer);
}
