# Process 1 of the guest once it stands on the overlay: run the job, send its output and exit code out.

here=/run/stock-kernel
busybox=$here/busybox
# Read and removed: a listing of files or processes that showed the token would end the output.
read -r token <$here/token
$busybox rm $here/token

# The ports are announced by the host some time after their driver is loaded.
for port in /dev/vport0p1 /dev/vport0p2; do
    until [ -e $port ]; do $busybox sleep 0.05; done
done

# Pipes, because a port can be opened only once and programs do reopen /dev/stderr.
$busybox mkfifo $here/out $here/err
$busybox cat $here/out >/dev/vport0p1 &
$busybox cat $here/err >/dev/vport0p2 &
exec 3>$here/out 4>$here/err

# By the first line the host knows that the guest has booted.
echo "$token" >&3
echo "$token" >&4

# The limit that an ordinary service gets; the kernel's own is 4096.
ulimit -H -n 1048576
$busybox setsid /bin/sh $here/job </dev/null >&3 2>&4 3>&- 4>&-
code=$?
$busybox sync
echo "$token $code" >&3
echo "$token $code" >&4

# The host ends the guest when both lines have come through. Powering off here would lose what is still on its way.
while :; do $busybox sleep 3600; done
