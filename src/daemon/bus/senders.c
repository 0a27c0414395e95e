/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A bucket for each client that called lately. A bucket that is full again says nothing, so its
 * place is the next client's. If all places are taken nobody else may call until one is full again:
 * dbus-daemon lets a user have 256 connections, so it takes more than one user to get there.
 */

#include "daemon/bus/senders.h"

#include <stdio.h>
#include <string.h>

#include "daemon/governor/bucket.h"

#define SENDERS_MAX 512
#define NAME_SIZE   32 /* ":1.4294967295" and more */
#define CALLS       10 /* per second */
#define BURST       100

struct senders {
        struct sender {
                char name[NAME_SIZE]; /* "": nobody's */
                struct bucket bucket;
        } all[SENDERS_MAX];
};

static struct sender *find(struct senders *senders, const char *name, uint64_t now) {
        struct sender *unused = NULL;

        for (size_t i = 0; i < SENDERS_MAX; i++) {
                struct sender *s = &senders->all[i];

                if (strcmp(s->name, name) == 0)
                        return s;
                if (!unused && (!*s->name || bucket_is_full(&s->bucket, now)))
                        unused = s;
        }
        if (unused) {
                (void)snprintf(unused->name, sizeof(unused->name), "%s", name);
                bucket_init(&unused->bucket, USEC_PER_SEC, CALLS, BURST);
        }
        return unused;
}

bool senders_may_call(struct senders *senders, const char *name, uint64_t now) {
        struct sender *s = NULL;

        if (strlen(name) < NAME_SIZE)
                s = find(senders, name, now);
        return s && bucket_take(&s->bucket, now, 1);
}

int senders_new(struct senders **ret) {
        *ret = calloc(1, sizeof(**ret));
        return *ret ? 0 : -ENOMEM;
}

struct senders *senders_free(struct senders *senders) {
        free(senders);
        return NULL;
}
