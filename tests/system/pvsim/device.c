// SPDX-License-Identifier: GPL-2.0-only

/*
 * /dev/pvsim-device: stands for a device that is passed through to a guest.
 *
 * It is one user's at a time, as VFIO's groups are: open() gives EBUSY meanwhile. A mapping of its
 * page holds the file, and so keeps it in use when all fds are closed.
 */

#include <linux/bitops.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/vmalloc.h>

#include "pvsim.h"

static unsigned long in_use; /* bit 0 */
static void *page;

static int on_open(struct inode *inode, struct file *file) {
        return test_and_set_bit(0, &in_use) ? -EBUSY : 0;
}

static int on_mmap(struct file *file, struct vm_area_struct *vma) {
        return remap_vmalloc_range(vma, page, vma->vm_pgoff);
}

static int on_release(struct inode *inode, struct file *file) {
        clear_bit(0, &in_use);
        return 0;
}

static const struct file_operations ops = {
        .owner = THIS_MODULE,
        .open = on_open,
        .mmap = on_mmap,
        .release = on_release,
        .llseek = noop_llseek,
};

static struct miscdevice device = {
        .minor = MISC_DYNAMIC_MINOR,
        .name = "pvsim-device",
        .mode = 0666,
        .fops = &ops,
};

int pvsim_device_init(void) {
        int r;

        page = vmalloc_user(PAGE_SIZE);
        if (!page)
                return -ENOMEM;
        r = misc_register(&device);
        if (r < 0)
                vfree(page);
        return r;
}

void pvsim_device_exit(void) {
        misc_deregister(&device);
        vfree(page);
}
