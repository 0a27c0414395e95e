/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Commands about processes: which ones there are, and what fork(2) and execve(2) do to a VMM that
 * has a keeper.
 *
 * The keeper is found as anybody could find it, in /proc: this process's child of the name
 * "pvr-keeper". A keeper whose VMM is dead is somebody else's child, and is not found. The child of
 * `fork` shares nothing with its parent but a pipe, and leaves by _exit().
 */

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm.h"

#define KEEPER_NAME "pvr-keeper"
#define SLEEP_PATH  "/bin/sleep"

static ssize_t read_file(const char *path, char *buffer, size_t size) {
        ssize_t n;
        int fd;

        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        n = read(fd, buffer, size - 1);
        close(fd);
        buffer[n > 0 ? n : 0] = '\0';
        return n;
}

/* /proc/PID/stat is "pid (name) state ppid ..."; the name may hold anything, also ')'. */
static bool is_keeper_of(const char *pid, pid_t parent) {
        const size_t length = strlen(KEEPER_NAME);
        char path[64], stat[1024], state, *open, *close_;
        int ppid;

        snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
        if (read_file(path, stat, sizeof(stat)) <= 0)
                return false;

        open = strchr(stat, '(');
        close_ = strrchr(stat, ')');
        if (!open || !close_ || (size_t)(close_ - open - 1) != length)
                return false;
        if (strncmp(open + 1, KEEPER_NAME, length) != 0)
                return false;
        return sscanf(close_ + 1, " %c %d", &state, &ppid) == 2 && ppid == parent && state != 'Z';
}

static pid_t find_keeper(pid_t parent) {
        struct dirent *entry;
        pid_t keeper = 0;
        DIR *proc;

        proc = opendir("/proc");
        if (!proc)
                return -errno;
        while (keeper == 0 && (entry = readdir(proc)))
                if (isdigit((unsigned char)entry->d_name[0]) && is_keeper_of(entry->d_name, parent))
                        keeper = atoi(entry->d_name);
        closedir(proc);
        return keeper;
}

int command_pids(struct vmm *vmm, int argc, char **argv) {
        pid_t keeper;

        keeper = find_keeper(getpid());
        if (keeper < 0)
                return keeper;

        if (keeper > 0)
                say("ok pids vmm=%d keeper=%d", getpid(), keeper);
        else
                say("ok pids vmm=%d keeper=-", getpid());
        return 0;
}

_Noreturn static void fork_child(struct vmm *vmm, int fd) {
        int result = pvr_vm_handoff(vmm->pvr);
        ssize_t n = write(fd, &result, sizeof(result));

        _exit(n == sizeof(result) ? EXIT_SUCCESS : EXIT_FAILURE);
}

int command_fork(struct vmm *vmm, int argc, char **argv) {
        int fds[2], result;
        ssize_t n = -1;
        pid_t child;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        child = fork();
        if (child == 0)
                fork_child(vmm, fds[1]);

        close(fds[1]);
        if (child > 0) {
                n = read(fds[0], &result, sizeof(result));
                waitpid(child, NULL, 0);
        }
        close(fds[0]);
        if (n != sizeof(result))
                return -EIO;

        say("ok fork handoff=%s%s", result < 0 ? "-" : "", errno_name(result));
        return 0;
}

int command_exec(struct vmm *vmm, int argc, char **argv) {
        const char *seconds = argc > 1 ? argv[1] : "60";

        if (access(SLEEP_PATH, X_OK) < 0)
                return -errno;

        say("ok exec path=%s argument=%s", SLEEP_PATH, seconds);
        execl(SLEEP_PATH, SLEEP_PATH, seconds, (char *)NULL);
        _exit(127);
}
