#!/bin/sh
# Process 1 in the initramfs of the guest, under a static busybox: mounts the root filesystem of the machine.
# /settings defines what differs from run to run; /modules holds the drivers in the order of loading.

PATH=/bin
export PATH

fail() {
    echo "stock-kernel init: $*"
    poweroff -f
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec >/dev/console 2>&1

. /settings
for module in /modules/*; do
    insmod "$module" || fail "cannot load $module"
done

mount -t "$transport" -o "$root_options" root /lower || fail "cannot mount the machine's root"
mount -t tmpfs -o size=60% overlay /scratch || fail "cannot mount the scratch memory"
mkdir /scratch/upper /scratch/work
mount -t overlay -o lowerdir=/lower,upperdir=/scratch/upper,workdir=/scratch/work overlay /new ||
    fail "cannot mount the overlay"

# Must come before /run is covered, because the directory of the kernel may be below it.
mkdir -p /new/lib/modules
mount --bind "/new$modules_directory" /new/lib/modules || fail "cannot find the modules in $modules_directory"

mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /new/dev/pts
mount -t tmpfs -o mode=1777 shm /new/dev/shm
ln -s /proc/self/fd /new/dev/fd
ln -s fd/0 /new/dev/stdin
ln -s fd/1 /new/dev/stdout
ln -s fd/2 /new/dev/stderr
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
mount -t bpf bpf /new/sys/fs/bpf
mount -t tmpfs -o mode=755 run /new/run
mkdir /new/run/lock /new/run/stock-kernel

share() { # TAG DIRECTORY
    mkdir -p "/new$2"
    mount -t "$transport" -o "$share_options" "$1" "/new$2" || fail "cannot mount $2"
}
. /shares

ifconfig lo up
hostname stock-kernel
cp /bin/busybox /stage2 /job /token /new/run/stock-kernel/
# Detached and not moved: the overlay keeps both in use, and the command must not see a second root.
umount -l /lower
umount -l /scratch
exec switch_root /new /run/stock-kernel/busybox sh /run/stock-kernel/stage2
