"""Run one command as root under a stock Debian kernel, on a throw-away overlay of this machine's own root filesystem.

The running kernel may lack what the appliance needs (the nft `queue` statement). So qemu boots Debian's own kernel, with the
files and programs of this machine but none of its state: the guest sees `/` read-only through a file share, writes go to memory
and are lost afterwards, and modules load on demand.

`provision` fetches once what is needed, `initramfs` and `job` make what the guest runs, `qemu` has the command line of the
machine, `shares` has its files, `guest` runs it. Only the standard library is used: this must work before any environment exists.
"""
