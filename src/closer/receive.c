/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Everything from a client is hostile: the packet, the number of fds with it, and the fds. Each fd
 * may hang the process that closes it (a file on FUSE). So the closer only peeks at the packet,
 * with room for one fd. That fd is then the closer's. All fds also stay in the connection's queue,
 * until the client and the journal were told. A close that hangs after that hangs here or in the
 * closer's exit, and nobody but this client waits for the closer.
 *
 * PID 1 holds the connection, too, until the closer's unit is dead. So a close of the connection
 * ends nothing, and PID 1 would close the fds that are still in its queue, VMs among them. The
 * queue must be empty before the closer ends, and nothing may come any more: hang_up().
 */

#include "closer/receive.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "base/util.h"
#include "closer/say.h"

#define TIMEOUT_USEC (5 * USEC_PER_SEC) /* a connection is one of few that systemd allows */

struct offer {
        union wire_message packet;
        size_t size; /* of the packet, which may be larger */
        int fd;      /* the first that came, or -1 */
        bool more;   /* fds than that one */
};

static int look_at(int client, struct offer *ret) {
        union {
                struct cmsghdr header;
                char buffer[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec iov = {.iov_base = &ret->packet, .iov_len = sizeof(ret->packet)};
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.buffer,
                /* CMSG_LEN, not CMSG_SPACE: its padding would have room for a second fd. */
                .msg_controllen = CMSG_LEN(sizeof(int)),
        };
        const struct cmsghdr *cmsg;
        ssize_t n;

        n = recvmsg(client, &mh, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0)
                return negative_errno();
        ret->size = (size_t)n;
        ret->fd = -1;
        ret->more = mh.msg_flags & MSG_CTRUNC;
        cmsg = CMSG_FIRSTHDR(&mh);
        if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
            cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(&ret->fd, CMSG_DATA(cmsg), sizeof(int));
        return 0;
}

/* By name: any other question to this fd might go to the process that serves it (FUSE). */
static bool is_vm(int fd, char *name, size_t size) {
        char path[64];
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, name, size - 1);
        name[n > 0 ? n : 0] = '\0';
        for (char *p = name; *p; p++)
                if (*p < ' ' || *p > '~')
                        *p = '?';
        return strcmp(name, "anon_inode:kvm-vm") == 0;
}

/* 0, or what to tell the client; why, in words, goes to the journal. */
static int judge(const struct offer *offer, char *why, size_t size) {
        char name[128];
        union wire_message m;

        (void)snprintf(why, size, "sent a packet that is no RELEASE");
        if (wire_decode(&m, WIRE_TO_CLOSER, &offer->packet, offer->size) != WIRE_RELEASE)
                return -EPROTO;
        (void)snprintf(why, size, offer->more ? "sent more than one fd" : "sent no fd");
        if (offer->more || offer->fd < 0)
                return -EPROTO;
        if (is_vm(offer->fd, name, sizeof(name)))
                return 0;
        (void)snprintf(why, size, "sent an fd of %s, which is no VM", name);
        return -EINVAL;
}

static void answer(int client, int error) {
        union wire_message m = {.held.error = error};
        int size = wire_encode(&m, WIRE_VERSION, WIRE_HELD);

        (void)packet_send(client, &m, (size_t)size);
}

/* One packet less in the queue; its fds are closed here and now. */
static void drop_packet(int client) {
        (void)recvfrom(client, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

static void hang_up(int client) {
        (void)shutdown(client, SHUT_RDWR);
        while (packet_discard(client) == -EPERM)
                drop_packet(client);
}

static int refuse(int client, int error, const char *why) {
        struct ucred cred = {};
        socklen_t size = sizeof(cred);

        (void)getsockopt(client, SOL_SOCKET, SO_PEERCRED, &cred, &size);
        answer(client, error);
        (void)say(LOG_WARNING, 0, "pid %d of uid %d %s", (int)cred.pid, (int)cred.uid, why);
        hang_up(client);
        return error;
}

int receive_release(int client, struct release *ret) {
        union wire_message ready = {};
        struct offer offer = {.fd = -1};
        char why[256];
        int r;

        r = wire_encode(&ready, WIRE_VERSION, WIRE_READY);
        r = packet_send(client, &ready, (size_t)r);
        if (r >= 0)
                r = packet_await(client, now_usec() + TIMEOUT_USEC);
        if (r == -ETIMEDOUT)
                return refuse(client, r, "connected and sent nothing");
        if (r >= 0)
                r = look_at(client, &offer);
        if (r < 0 || (offer.size == 0 && offer.fd < 0 && !offer.more))
                return refuse(client, r < 0 ? r : -ENODATA, "left without sending anything");
        r = judge(&offer, why, sizeof(why));
        if (r < 0)
                return refuse(client, r, why);
        /* Off the queue, which holds the VM as well; ours keeps this from being its last close. */
        drop_packet(client);
        memcpy(ret->name, offer.packet.release.name, sizeof(ret->name));
        ret->mem = offer.packet.release.mem;
        ret->vm_fd = offer.fd;
        return 0;
}

void receive_confirm(int client) {
        answer(client, 0);
        hang_up(client);
}
