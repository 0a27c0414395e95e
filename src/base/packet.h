/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One datagram on a SOCK_SEQPACKET socket. Nothing here blocks, except packet_await(), which is not
 * for a keeper or the daemon. packet_recv() takes no fd.
 *
 * A daemon that received a VM fd would have to close it, and the last close of a VM runs its whole
 * teardown inside close(2), unkillable, for minutes (G7). So packet_recv() looks at a packet before
 * it takes it: MSG_PEEK without a control buffer installs no fd, and MSG_CTRUNC says that fds came
 * with the packet. A packet that carries fds stays in the queue.
 *
 * Raw system calls only (no cancellation point, no lock): a keeper may use all of it.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ucred;

/*
 * Sends one packet. 0, or -EAGAIN (queue full), -EPIPE / -ECONNRESET / -ENOTCONN (nobody there), or
 * another negative errno. No SIGPIPE.
 */
int packet_send(int fd, const void *packet, size_t size);

/* The same with one fd as SCM_RIGHTS; fd_to_pass stays the caller's. */
int packet_send_fd(int fd, const void *packet, size_t size, int fd_to_pass);

/*
 * Receives one packet. Returns its true size, also if that is larger than size (then the rest is
 * gone). 0: EOF. -EAGAIN: there is none. -EPERM: it carries fds and stays queued; close the
 * connection elsewhere. Or another negative errno.
 */
ssize_t packet_recv(int fd, void *buffer, size_t size);

/*
 * Takes everything off a socket that was shut down. 0: it is empty; -EPERM: the next packet carries
 * fds (it stays queued: close the connection elsewhere); or another negative errno.
 */
int packet_discard(int fd);

/*
 * Receives one packet from a trusted peer. It may carry one fd: *ret_fd is that fd (CLOEXEC, the
 * caller's), or -1. More than one fd: -EPROTO. Else as packet_recv().
 * ret_sender: on a socket with SO_PASSCRED the sender's real uid and gid, from the kernel; else -1.
 * May be NULL.
 */
ssize_t packet_recv_fd(int fd, void *buffer, size_t size, int *ret_fd, struct ucred *ret_sender);

/* Waits until there is something to receive. 0, or -ETIMEDOUT at deadline (CLOCK_MONOTONIC, µs). */
int packet_await(int fd, uint64_t deadline);

/* Asks the kernel to refuse fds on this socket (SO_PASSRIGHTS, Linux 6.16). 0 or -ENOPROTOOPT. */
int packet_refuse_fds(int fd);
