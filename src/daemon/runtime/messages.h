/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One MESSAGE_ID per kind of event, made with `systemd-id128 new`. Administrators match on them and
 * catalogs translate them, so an id is never changed and never used for anything else; one that is
 * no longer sent stays here.
 *
 * The comment behind each is its contract: the fields of its entries beside PRIORITY, MESSAGE,
 * SYSLOG_IDENTIFIER and ERRNO. One with a "?" is left out where its value is unknown, so that the
 * text in conf/pv-reaper.catalog may not use it. Style tests compare the three.
 */

/* A job ended: one for each word of G8. */
#define MESSAGE_JOB_DONE        "07c4c29f4f39431d8c162c9dd10763f8" /* JOB_FIELDS */
#define MESSAGE_JOB_UNGOVERNED  "1fc4c79b581c4ebe9020799b1bea7b9b" /* JOB_FIELDS */
#define MESSAGE_JOB_INTERRUPTED "28386607ccde4a4f9dd3a5f9760328ec" /* JOB_FIELDS */
#define MESSAGE_JOB_SUPERSEDED  "69a97db9d9004108ba4db680ab4c7dda" /* JOB_FIELDS */
#define MESSAGE_JOB_FAILED      "3b27d686f2524dac9f95d3c3f129227d" /* JOB_FIELDS */
#define MESSAGE_JOB_FOREIGN     "ed119bab93ea4cf3b5f473f42b3c1412" /* JOB_FIELDS */
#define MESSAGE_JOB_LOST        "d3f9c37ff94b4e71978d7feea44d87c1" /* JOB_FIELDS */

/*
 * JOB_FIELDS: PV_VM PV_UUID? PV_UNIT? PV_JOB PV_KIND PV_RESULT PV_CPU_USEC? PV_WAIT_USEC?
 * PV_RUN_USEC? PV_BYTES PV_RC? PV_RRC? PV_PID PV_CGROUP?
 */

/* So many ended without a grant that they were not told one by one. */
#define MESSAGE_JOBS_UNTOLD "a916f129537d45eab293c56503ab17f5" /* PV_UNIT? PV_JOBS */

/* A worker has its slot, and does not count any more; it stood still, and counts again. */
#define MESSAGE_WORKER_OVERDUE "77378381de154577aba8488a675d6263" /* PV_VM PV_UNIT? PV_PID */
#define MESSAGE_WORKER_MOVES   "740be2f0e83c478e9791a015d4bd0929" /* PV_VM PV_UNIT? PV_PID */

/* A worker is not moved to a cgroup of its own: that would migrate the guest's memory. */
#define MESSAGE_WORKER_STAYS "8bd9cf9f52264b5dbef1e529e4e10af3" /* PV_UNIT? PV_PID */

/* The helper of a stock QEMU is a worker from now on; or it is none, and why. */
#define MESSAGE_ADOPTED       "4172cfc3c08b4f52b75641ed46c0f761" /* PV_UNIT? PV_PID PV_VMM_PID */
#define MESSAGE_ADOPT_REFUSED "d6864503d566477797102e4b4f88c759" /* PV_PID PV_REASON */

/* What holds workers to the CPU quota, and why; it does not hold this one, or is not as wanted. */
#define MESSAGE_CPU_CAP        "a3ea9a4e2aad48cb8d50e05e8cf0f2f1" /* PV_BACKEND PV_REASON */
#define MESSAGE_CPU_UNENFORCED "e1cd002087784a24893db2925ce778d3" /* PV_PID? */

/* Memory is short, or somebody waits for some: the boost-* limits hold; it is so no longer. */
#define MESSAGE_MEMORY_SHORT  "4659ec6808ba4c0382bd5e39b3acd158" /* PV_AVAILABLE PV_WAITERS */
#define MESSAGE_MEMORY_ENOUGH "e887b5c303404e748b6c09b212f3d6e4" /* PV_AVAILABLE */

/* It is ready; before that, if so, workers of an earlier daemon that run. */
#define MESSAGE_READY         "c48e5959c63f4e5fb0914599c48d0c7e" /* PV_MAX_CONCURRENT PV_CGROUP? */
#define MESSAGE_WORKERS_FOUND "5141d99bd55443fd990fd07be45a31c1" /* PV_WORKERS */

/* It stops: at once, or after a drain, with what is left to do then. */
#define MESSAGE_STOPPING        "68b505970f5846cb80daab19178f821a" /* PV_RUNNING PV_QUEUED */
#define MESSAGE_DRAIN_BEGUN     "a8b49e3269064efa86425e4c969e65cc" /* PV_RUNNING PV_QUEUED */
#define MESSAGE_DRAIN_DONE      "cabf817661604d388af1459f0329712c" /* */
#define MESSAGE_DRAIN_LEFTOVERS "00b1517b238f4394a3c2f98f161fa909" /* PV_RUNNING PV_QUEUED */

/* The configuration was read again; could not be, and the old one stays. */
#define MESSAGE_CONFIG_RELOADED "da9ea17d1e9946e389bdb95e9cb0777d" /* PV_MAX_CONCURRENT */
#define MESSAGE_CONFIG_REFUSED  "ffa9913244a249c68e7835542552fb79" /* */

/* A key of the configuration has another value, and who asked for that. */
#define MESSAGE_KEY_CHANGED "a389b97fc14949ccad449dee0eee9e22" /* PV_KEY PV_OLD PV_NEW PV_WHO */

/* A peer was refused, or disconnected for what it sent. */
#define MESSAGE_PEER_REFUSED "cfc2a2d6548b4684ad66e8a34c8b4564" /* PV_PID */

/* Entries before this one could not be written, or went to stderr without their fields. */
#define MESSAGE_LOG_LOST "9fa425e969c743ec86084fdcfcee184b" /* PV_LOST PV_BARE */
