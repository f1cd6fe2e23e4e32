#!/bin/sh
# Becomes the systemd of a machine of its own. Runs as process 1 of new namespaces (pid, mount, net, ...); $1 is a directory
# with `layer`, files that lie over this machine's root, and `binds`, lines of "directory here" and "directory there".
set -e
directory=$1
units=/lib/systemd/system

mount --make-rprivate /
mkdir "$directory/scratch"
mount -t tmpfs scratch "$directory/scratch"
cd "$directory/scratch"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
cd root
rm -rf etc/systemd/system
cp -a "$directory/layer/." .

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
while read -r here there; do
    mkdir -p "./$there"
    mount --bind "$here" "./$there"
done <"$directory/binds"

# Only what every service stands on: the targets, the journal, and the end. Everything else of this machine would be started too.
mkdir -p run/machine/sysinit.target.wants
cp $units/*.target $units/systemd-journald* $units/systemd-poweroff.service run/machine
ln -s ../systemd-journald.service run/machine/sysinit.target.wants

mkdir old
pivot_root . old
umount -l /old
ip link set lo up
exec env -i container=machine PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/machine \
    /lib/systemd/systemd --system --unit=multi-user.target --show-status=no --log-target=journal-or-kmsg
