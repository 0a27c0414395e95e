/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A memfd of one size for ever, mapped: a header, and places for records, in any order. It is
 * sealed against other sizes, so that no access can fail. A record is complete before it gets its
 * turn, by which it counts; a daemon that is killed in between loses this one. What is read is our
 * own, but of whatever version: a header that is not exactly ours is refused, and no text is
 * trusted to end.
 */

#include "daemon/job/archive.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MAGIC "pv-reaper jobs 1" /* another one, if a field changes its meaning */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)

struct record {
        uint64_t turn; /* one more than that of the job that ended before; 0: the place is free */
        uint64_t id, seq;
        uint32_t kind, state;
        uint64_t bytes, bytes_left;
        uint64_t queued_at, granted_at, ended_at;
        uint64_t waited_usec, ran_usec, cpu_usec;
        int32_t pid, error;
        uint16_t rc, rrc;
        uint8_t ungoverned, has_unit, has_cgroup, unused;
        uint8_t uuid[16];
        char name[WIRE_NAME_MAX + 1];
        char unit[257]; /* systemd's are no longer */
        char cgroup[510];
};

struct content {
        char magic[24];
        uint64_t record_size;
        uint64_t next_id;
        uint64_t turn; /* the last that was given */
        struct record records[ARCHIVE_JOBS_MAX];
};

struct archive {
        int fd;
        bool is_new;
        struct content *content;
        unsigned n_free;
        uint16_t free[ARCHIVE_JOBS_MAX]; /* places */
};

/* ---- life and death ---- */

static int map(struct content **ret, int fd) {
        void *p = mmap(NULL, sizeof(**ret), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED)
                return negative_errno();
        *ret = p;
        return 0;
}

/* Nobody can change its size any more, so all of it can be read. */
static bool is_sealed(int fd) {
        struct stat st;

        return (fcntl(fd, F_GET_SEALS) & SEALS) == SEALS && fstat(fd, &st) >= 0 &&
               st.st_size == (off_t)sizeof(struct content);
}

static bool is_ours(const struct content *c) {
        return strncmp(c->magic, MAGIC, sizeof(c->magic)) == 0 &&
               c->record_size == sizeof(c->records[0]) && c->next_id > 0;
}

/* -EBADMSG: it is no archive, or another version's. */
static int open_old(struct archive *a, int fd) {
        int r;

        if (fcntl(fd, F_GET_SEALS) < 0 || !is_sealed(fd))
                return -EBADMSG;
        r = map(&a->content, fd);
        if (r < 0)
                return r;
        if (is_ours(a->content))
                return 0;
        (void)munmap(a->content, sizeof(*a->content));
        a->content = NULL;
        return -EBADMSG;
}

static int make(struct archive *a, int *ret) {
        _cleanup_(close_fd) int fd = -1;
        int r;

        fd = memfd_create("pv-reaper-jobs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return negative_errno();
        if (ftruncate(fd, (off_t)sizeof(*a->content)) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return negative_errno();
        r = map(&a->content, fd);
        if (r < 0)
                return r;
        a->content->record_size = sizeof(a->content->records[0]);
        a->content->next_id = 1;
        memcpy(a->content->magic, MAGIC, sizeof(MAGIC));
        *ret = take_fd(&fd);
        return 0;
}

static bool is_used(const struct record *record) {
        return record->turn != 0 && record->state >= JOB_DONE && record->state < _JOB_STATE_MAX;
}

/* From the first on. */
static void list_free(struct archive *a) {
        a->n_free = 0;
        for (unsigned i = ARCHIVE_JOBS_MAX; i-- > 0;)
                if (!is_used(&a->content->records[i]))
                        a->free[a->n_free++] = (uint16_t)i;
}

DEFINE_FREEP(archive)

int archive_new(struct archive **ret, int *fd) {
        _cleanup_(close_fd) int old = take_fd(fd);
        _cleanup_(archive_freep) struct archive *a = calloc(1, sizeof(*a));
        int r = -EBADMSG;

        if (!a)
                return -ENOMEM;
        a->fd = -1;
        if (old >= 0)
                r = open_old(a, old);
        a->is_new = r < 0;
        if (a->is_new)
                r = make(a, &a->fd);
        else
                a->fd = take_fd(&old);
        if (r < 0)
                return r;
        list_free(a);
        *ret = take_ptr(&a);
        return 0;
}

struct archive *archive_free(struct archive *a) {
        if (!a)
                return NULL;
        if (a->content)
                (void)munmap(a->content, sizeof(*a->content));
        close_fd(&a->fd);
        free(a);
        return NULL;
}

int archive_get_new_fd(const struct archive *a) {
        return a->is_new ? a->fd : -1;
}

uint64_t archive_next_id(struct archive *a) {
        return a->content->next_id++;
}

/* ---- jobs ---- */

static void put_text(char *buffer, size_t size, const char *text) {
        (void)snprintf(buffer, size, "%s", text ? text : "");
}

static void put(struct record *ret, const struct job *j) {
        struct record r = {
                .id = j->id,
                .seq = j->seq,
                .kind = j->kind,
                .state = j->state,
                .bytes = j->bytes,
                .bytes_left = j->bytes_left,
                .queued_at = j->queued_at,
                .granted_at = j->granted_at,
                .ended_at = j->ended_at,
                .waited_usec = j->waited_usec,
                .ran_usec = j->ran_usec,
                .cpu_usec = j->cpu_usec,
                .pid = j->pid,
                .error = j->error,
                .rc = j->rc,
                .rrc = j->rrc,
                .ungoverned = j->ungoverned,
                .has_unit = j->unit != NULL,
                .has_cgroup = j->cgroup != NULL,
        };

        memcpy(r.uuid, j->uuid, sizeof(r.uuid));
        put_text(r.name, sizeof(r.name), j->name);
        put_text(r.unit, sizeof(r.unit), j->unit);
        put_text(r.cgroup, sizeof(r.cgroup), j->cgroup);
        *ret = r;
}

void archive_add(struct archive *a, struct job *job) {
        struct content *c = a->content;
        struct record *record;
        unsigned place;

        if (a->n_free == 0)
                return;
        place = a->free[--a->n_free];
        record = &c->records[place];
        put(record, job);
        job->record = place + 1;
        __atomic_store_n(&record->turn, ++c->turn, __ATOMIC_RELEASE);
}

void archive_drop(struct archive *a, struct job *job) {
        if (job->record == 0)
                return;
        a->content->records[job->record - 1].turn = 0;
        a->free[a->n_free++] = (uint16_t)(job->record - 1);
        job->record = 0;
}

static int get(struct job **ret, const struct record *record) {
        struct record r = *record;
        const struct wire_request request = {.seq = r.seq, .kind = r.kind, .mem = r.bytes};
        struct job_owner owner = {.pid = r.pid, .uuid = r.uuid, .name = r.name};
        struct job *j;
        int error;

        r.name[sizeof(r.name) - 1] = r.unit[sizeof(r.unit) - 1] = '\0';
        r.cgroup[sizeof(r.cgroup) - 1] = '\0';
        owner.unit = r.has_unit ? r.unit : NULL;
        owner.cgroup = r.has_cgroup ? r.cgroup : NULL;
        error = job_new(&j, &owner, r.id, &request);
        if (error < 0)
                return error;
        j->state = (enum job_state)r.state;
        j->bytes_left = r.bytes_left;
        j->queued_at = r.queued_at;
        j->granted_at = r.granted_at;
        j->ended_at = r.ended_at;
        j->waited_usec = r.waited_usec;
        j->ran_usec = r.ran_usec;
        j->cpu_usec = r.cpu_usec;
        j->error = r.error;
        j->rc = r.rc;
        j->rrc = r.rrc;
        j->ungoverned = r.ungoverned;
        *ret = j;
        return 0;
}

/* ---- all of them ---- */

static int compare_turns(const void *a, const void *b) {
        const struct record *one = *(const struct record *const *)a;
        const struct record *other = *(const struct record *const *)b;

        return one->turn < other->turn ? -1 : one->turn > other->turn;
}

int archive_each(const struct archive *a, void (*found)(void *userdata, struct job *job),
                 void *userdata) {
        const struct record *used[ARCHIVE_JOBS_MAX];
        const struct content *c = a->content;
        size_t n = 0;

        for (size_t i = 0; i < ARCHIVE_JOBS_MAX; i++)
                if (is_used(&c->records[i]))
                        used[n++] = &c->records[i];
        qsort(used, n, sizeof(const struct record *), compare_turns);
        for (size_t i = 0; i < n; i++) {
                struct job *job;
                int r;

                r = get(&job, used[i]);
                if (r < 0)
                        return r;
                job->record = (unsigned)(used[i] - c->records) + 1;
                found(userdata, job);
        }
        return 0;
}
