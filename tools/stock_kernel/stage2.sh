# Process 1 of the guest on the overlay: runs the job, and sends its output and exit code to the host.

here=/run/stock-kernel
busybox=$here/busybox
# The token is read and its file removed, because output that shows the token would look like the end of the output.
read -r token <$here/token
$busybox rm $here/token

# The ports are announced by the host some time after their driver is loaded.
for port in /dev/vport0p1 /dev/vport0p2; do
    until [ -e $port ]; do $busybox sleep 0.05; done
done

# Through pipes, because a port can be opened only once, and some programs open /dev/stderr again.
$busybox mkfifo $here/out $here/err
$busybox cat $here/out >/dev/vport0p1 &
$busybox cat $here/err >/dev/vport0p2 &
exec 3>$here/out 4>$here/err

# The first line tells the host that the guest has booted.
echo "$token" >&3
echo "$token" >&4

# The limit of open files that an ordinary service gets; the default of the kernel is 4096.
ulimit -H -n 1048576
$busybox setsid /bin/sh $here/job </dev/null >&3 2>&4 3>&- 4>&-
code=$?
$busybox sync
echo "$token $code" >&3
echo "$token $code" >&4

# The host ends the guest when it has both lines. A power-off here would lose bytes that are still in a buffer.
while :; do $busybox sleep 3600; done
