// SPDX-License-Identifier: GPL-2.0-only

/*
 * pvsim.ko: takes /dev/kvm for itself, in a machine where KVM is not loaded, and serves as much of
 * it as a VMM needs that never runs a vCPU, plus KVM_S390_PV_COMMAND (vm.c).
 *
 * A file of a VM and each file of a vCPU own a reference to the VM, so the last of them to be
 * closed ends it, in the task that closes it; a mapping of kvm_run keeps the vCPU's file open.
 * Every ioctl on either begins with the check of the address space.
 */

#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "pvsim.h"

#define RUN_SIZE     (3 * PAGE_SIZE)
#define MEMSLOTS_MAX 512
#define VCPUS_MAX    64
#define REGION2      0x40A0AE49u /* KVM_SET_USER_MEMORY_REGION2 of Linux 6.8: longer */

struct vcpu {
        struct pvsim_vm *vm; /* a reference */
        void *run;
};

static int check_extension(unsigned long extension) {
        switch (extension) {
        case KVM_CAP_USER_MEMORY:
        case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
        case KVM_CAP_S390_PROTECTED:
        case PVSIM_CAP_ASYNC_DISABLE:
                return 1;
        case KVM_CAP_NR_MEMSLOTS:
                return MEMSLOTS_MAX;
        case KVM_CAP_NR_VCPUS:
        case KVM_CAP_MAX_VCPUS:
                return VCPUS_MAX;
        default:
                return 0;
        }
}

static int on_vcpu_mmap(struct file *file, struct vm_area_struct *vma) {
        struct vcpu *vcpu = file->private_data;

        return remap_vmalloc_range(vma, vcpu->run, vma->vm_pgoff);
}

static long on_vcpu_ioctl(struct file *file, unsigned int request, unsigned long arg) {
        struct vcpu *vcpu = file->private_data;
        int r = pvsim_vm_check(vcpu->vm);

        return r < 0 ? r : -ENOTTY;
}

static int on_vcpu_release(struct inode *inode, struct file *file) {
        struct vcpu *vcpu = file->private_data;

        pvsim_vm_put(vcpu->vm);
        vfree(vcpu->run);
        kfree(vcpu);
        return 0;
}

static const struct file_operations vcpu_ops = {
        .owner = THIS_MODULE,
        .unlocked_ioctl = on_vcpu_ioctl,
        .mmap = on_vcpu_mmap,
        .release = on_vcpu_release,
        .llseek = noop_llseek,
};

static long create_vcpu(struct pvsim_vm *vm, unsigned long id) {
        struct vcpu *vcpu = kzalloc(sizeof(*vcpu), GFP_KERNEL_ACCOUNT);
        char name[32];
        int fd = -ENOMEM;

        if (vcpu)
                vcpu->run = vmalloc_user(RUN_SIZE);
        if (vcpu && vcpu->run) {
                vcpu->vm = vm;
                snprintf(name, sizeof(name), "kvm-vcpu:%lu", id);
                pvsim_vm_get(vm);
                fd = anon_inode_getfd(name, &vcpu_ops, vcpu, O_RDWR | O_CLOEXEC);
                if (fd >= 0)
                        return fd;
                pvsim_vm_put(vm);
        }
        if (vcpu)
                vfree(vcpu->run);
        kfree(vcpu);
        return fd;
}

static long set_region(struct pvsim_vm *vm, void __user *arg) {
        struct kvm_userspace_memory_region region;

        if (copy_from_user(&region, arg, sizeof(region)))
                return -EFAULT;
        return pvsim_vm_set_region(vm, &region);
}

static long pv_command(struct pvsim_vm *vm, void __user *arg) {
        struct kvm_pv_cmd cmd;
        long r;

        if (copy_from_user(&cmd, arg, sizeof(cmd)))
                return -EFAULT;
        r = pvsim_vm_command(vm, &cmd);
        return copy_to_user(arg, &cmd, sizeof(cmd)) ? -EFAULT : r;
}

/* Somebody else's memory is not KVM's business; the log wants to know what was tried. */
static long refuse(struct pvsim_vm *vm, unsigned int request, void __user *arg) {
        struct kvm_pv_cmd cmd;

        if (request == KVM_S390_PV_COMMAND && !copy_from_user(&cmd, arg, sizeof(cmd)))
                pvsim_vm_refuse(vm, &cmd);
        return -EIO;
}

static long on_vm_ioctl(struct file *file, unsigned int request, unsigned long arg) {
        struct pvsim_vm *vm = file->private_data;

        if (pvsim_vm_check(vm) < 0)
                return refuse(vm, request, (void __user *)arg);
        switch (request) {
        case KVM_CHECK_EXTENSION:
                return check_extension(arg);
        case KVM_CREATE_VCPU:
                return create_vcpu(vm, arg);
        case KVM_SET_USER_MEMORY_REGION:
        case REGION2:
                return set_region(vm, (void __user *)arg);
        case KVM_S390_PV_COMMAND:
                return pv_command(vm, (void __user *)arg);
        default:
                return -ENOTTY;
        }
}

static int on_vm_release(struct inode *inode, struct file *file) {
        pvsim_vm_put(file->private_data);
        return 0;
}

static const struct file_operations vm_ops = {
        .owner = THIS_MODULE,
        .unlocked_ioctl = on_vm_ioctl,
        .release = on_vm_release,
        .llseek = noop_llseek,
};

static long create_vm(unsigned long type) {
        struct pvsim_vm *vm;
        int fd;

        if (type != 0)
                return -EINVAL;
        vm = pvsim_vm_new();
        if (!vm)
                return -ENOMEM;
        fd = anon_inode_getfd("kvm-vm", &vm_ops, vm, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                pvsim_vm_put(vm);
        return fd;
}

static long on_dev_ioctl(struct file *file, unsigned int request, unsigned long arg) {
        switch (request) {
        case KVM_GET_API_VERSION:
                return KVM_API_VERSION;
        case KVM_CREATE_VM:
                return create_vm(arg);
        case KVM_CHECK_EXTENSION:
                return check_extension(arg);
        case KVM_GET_VCPU_MMAP_SIZE:
                return RUN_SIZE;
        default:
                return -ENOTTY;
        }
}

static const struct file_operations dev_ops = {
        .owner = THIS_MODULE,
        .unlocked_ioctl = on_dev_ioctl,
        .llseek = noop_llseek,
};

static struct miscdevice dev = {
        .minor = KVM_MINOR,
        .name = "kvm",
        .mode = 0666, /* there is no udev to give it to the group kvm */
        .fops = &dev_ops,
};

static int __init pvsim_init(void) {
        int r = pvsim_log_init();

        if (r < 0)
                return r;
        r = pvsim_device_init();
        if (r < 0)
                goto no_device;
        r = misc_register(&dev);
        if (r < 0)
                goto no_kvm;
        return 0;
no_kvm:
        pvsim_device_exit();
no_device:
        pvsim_log_exit();
        return r;
}

static void __exit pvsim_exit(void) {
        misc_deregister(&dev);
        pvsim_device_exit();
        pvsim_log_exit();
}

module_init(pvsim_init);
module_exit(pvsim_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("simulates the protected VMs of KVM on s390, for tests");
