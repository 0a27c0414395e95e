# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What the build and the tests need on Debian 12. Sourced by tests/run and tests/demo, so that every
# list stands in one place:
#
#         . tests/packages.sh
#         ensure_packages build test
#
# libc6-dev and libclang-rt-14-dev are only recommended by gcc and clang, and are named since
# recommended packages are not installed; systemd has systemd.pc (directories of units); llvm-14
# turns addresses in sanitizer reports into names. promtool, which is part of prometheus (100 MB),
# and apparmor_parser are used where they are there.

# shellcheck disable=SC2034  # used by name
packages_build=(meson ninja-build gcc libc6-dev pkg-config systemd libsystemd-dev libinih-dev
        libjansson-dev libcgroup-dev libseccomp-dev libcmocka-dev scdoc)
# shellcheck disable=SC2034
packages_test=(clang libclang-rt-14-dev llvm-14 clang-format clang-tidy valgrind
        strace gdb spin python3 python3-prometheus-client dbus procps git checkpolicy
        semodule-utils tmux pyflakes3)
# Kernels to boot, what boots them, and a cross compiler; kernel packages are only unpacked.
# shellcheck disable=SC2034
packages_system=(qemu-system-x86 qemu-system-misc qemu-user-static busybox-static kmod cpio
        xz-utils binutils make linux-headers-amd64 mmdebstrap gcc-s390x-linux-gnu python3 systemd
        dbus)

missing_packages() {
        local list package status

        for list; do
                local -n packages="packages_$list"
                for package in "${packages[@]}"; do
                        # shellcheck disable=SC2016  # the format is dpkg-query's
                        status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)
                        [ "$status" = installed ] || printf '%s\n' "$package"
                done
        done
}

apt() {
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 \
                -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
}

# ensure_packages LIST...: installs what is missing of the named lists, asking nothing. Touches
# neither network nor dpkg when nothing is missing. 0: all there; 1: something is not, and what to
# do has been said; the caller may go on and see how far it gets.
ensure_packages() {
        local missing package

        mapfile -t missing < <(missing_packages "$@")
        [ ${#missing[@]} -gt 0 ] || return 0

        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
                echo "installing: ${missing[*]}" >&2
                apt update || echo "apt-get update failed; trying with the lists at hand" >&2
                if ! apt install --no-install-recommends "${missing[@]}"; then
                        for package in "${missing[@]}"; do # one that is unknown stops all others
                                apt install --no-install-recommends "$package"
                        done
                fi
                mapfile -t missing < <(missing_packages "$@")
                [ ${#missing[@]} -gt 0 ] || return 0
        fi

        echo "missing packages; as root: apt-get install --no-install-recommends ${missing[*]}" >&2
        return 1
}
