// SPDX-License-Identifier: GPL-2.0-only

/*
 * /proc/pvsim: who did what to which VM, in the words of the log of tests/sim, one line at begin
 * and one at end of each command:
 *
 *   t=<CLOCK_MONOTONIC, ns> ev=begin cmd=<ENABLE, ..., CLOSE, or a number> pid= tid= vm=<pid>.<n>
 *   seq=<incarnation> aside=<incarnation> pages=<4K pages> comm=<task's name> cgroup=<v2 path>
 *
 * and with ev=end also ret=<0 or -errno> rc= rrc=. CLOSE is the end of the VM itself. pages is at
 * the begin what there is to clear, at the end what was cleared. cgroup is the one the task is in
 * when the line is written, "-" in place of what could not be found out.
 *
 * One buffer that only grows, made at load time: an append never fails for want of memory, and what
 * was read once stays where it was. When it is full the last line says so and the rest is lost.
 */

#include <linux/cgroup.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/printk.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>

#include "pvsim.h"

#define LOG_SIZE  (32ul << 20)
#define LINE_SIZE 512
#define FULL      "full=1\n"

static bool echo;
module_param(echo, bool, 0644);
MODULE_PARM_DESC(echo, "every line also to the console, as an error, for those who come too late");

static DEFINE_MUTEX(lock); /* of the following three */
static char *text;
static size_t used;
static bool full;

static const char *const names[] = {
        [KVM_PV_ENABLE] = "ENABLE",
        [KVM_PV_DISABLE] = "DISABLE",
        [KVM_PV_SET_SEC_PARMS] = "SET_SEC_PARMS",
        [KVM_PV_UNPACK] = "UNPACK",
        [KVM_PV_VERIFY] = "VERIFY",
        [KVM_PV_PREP_RESET] = "PREP_RESET",
        [KVM_PV_UNSHARE_ALL] = "UNSHARE_ALL",
        [7] = "INFO",
        [8] = "DUMP",
        [PVSIM_PREPARE] = "PREPARE",
        [PVSIM_PERFORM] = "PERFORM",
};

static void put_command(char name[24], u32 cmd) {
        if (cmd == PVSIM_CLOSE)
                strscpy(name, "CLOSE", 24);
        else if (cmd < ARRAY_SIZE(names))
                strscpy(name, names[cmd], 24);
        else
                snprintf(name, 24, "%u", cmd);
}

/* No blanks: they separate the words. */
static void fill_blanks(char *comm) {
        for (char *p = comm; *p; p++)
                if (*p <= ' ' || *p > '~')
                        *p = '_';
}

static void put_cgroup(char *path, size_t size) {
        int r;

        rcu_read_lock();
        r = cgroup_path(task_dfl_cgroup(current), path, size);
        rcu_read_unlock();
        if (r < 0 || r >= size)
                strscpy(path, "-", size);
}

static void append(const char *line, size_t n) {
        if (READ_ONCE(echo))
                pr_err("pvsim: %s", line);
        mutex_lock(&lock);
        if (!full && used + n + sizeof(FULL) > LOG_SIZE) {
                full = true;
                line = FULL;
                n = sizeof(FULL) - 1;
        } else if (full)
                n = 0;
        memcpy(text + used, line, n);
        used += n;
        mutex_unlock(&lock);
}

static int put_op(char *line, const char *event, const struct pvsim_op *op) {
        char name[24], comm[TASK_COMM_LEN], path[256];

        put_command(name, op->cmd);
        get_task_comm(comm, current);
        fill_blanks(comm);
        put_cgroup(path, sizeof(path));
        return scnprintf(line, LINE_SIZE,
                         "t=%llu ev=%s cmd=%s pid=%d tid=%d vm=%d.%u seq=%u aside=%u pages=%llu "
                         "comm=%s cgroup=%s",
                         ktime_get_ns(), event, name, task_tgid_nr(current), task_pid_nr(current),
                         op->vm_pid, op->vm_number, op->seq, op->aside, op->pages, comm, path);
}

void pvsim_log_begin(const struct pvsim_op *op) {
        char line[LINE_SIZE];
        int n = put_op(line, "begin", op);

        n += scnprintf(line + n, LINE_SIZE - n, "\n");
        append(line, n);
}

void pvsim_log_end(const struct pvsim_op *op, long result, u16 rc, u16 rrc) {
        char line[LINE_SIZE];
        int n = put_op(line, "end", op);

        n += scnprintf(line + n, LINE_SIZE - n, " ret=%ld rc=%u rrc=%u\n", result, rc, rrc);
        append(line, n);
}

static ssize_t on_read(struct file *file, char __user *buffer, size_t size, loff_t *at) {
        ssize_t r;

        mutex_lock(&lock);
        r = simple_read_from_buffer(buffer, size, at, text, used);
        mutex_unlock(&lock);
        return r;
}

static const struct proc_ops log_ops = {
        .proc_read = on_read,
        .proc_lseek = default_llseek,
};

int pvsim_log_init(void) {
        text = vzalloc(LOG_SIZE);
        if (!text)
                return -ENOMEM;
        if (proc_create("pvsim", 0444, NULL, &log_ops))
                return 0;
        vfree(text);
        return -ENOMEM;
}

void pvsim_log_exit(void) {
        remove_proc_entry("pvsim", NULL);
        vfree(text);
}
