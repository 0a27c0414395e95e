# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a program changes in the file system, by what strace sees of it.

    daemon = self.daemon(prefix=audit.strace(path))
    ...
    audit.changed_paths(read(path))
"""

import os
import re

CALLS = ("open", "openat", "openat2", "creat", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat",
         "rename", "renameat", "renameat2", "setxattr", "fsetxattr", "chmod", "fchmodat", "chown",
         "fchownat", "truncate")
CALL = re.compile(r"(\w+)\((?:(?:AT_FDCWD|\d+)<([^>]*)>, )?\"([^\"]*)\"(.*)")


def strace(path, *options):
    """A command's prefix. Its pid is the command's (-D), and the tracer ends with it."""
    return ["strace", "-D", *options_of(path), *options]


def options_of(path):
    return ["-f", "-y", "-o", path, "-e", f"trace={','.join(CALLS)}"]


def changed_paths(trace):
    """All that it tried to open for writing, to make, to rename or to remove; normalized."""
    paths = []
    for line in trace.splitlines():
        call = CALL.search(line)
        if not call or (call[1] in ("open", "openat", "openat2") and
                        not re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", call[4])):
            continue
        paths.append(os.path.normpath(os.path.join(call[2] or "/", call[3])))
    return paths
