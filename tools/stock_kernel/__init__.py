"""Run one command as root under a stock Debian kernel, on a throw-away overlay of this machine's own root filesystem.

The running kernel may lack what the appliance needs (the nft `queue` statement), and nothing that runs on it can load
that. So qemu boots Debian's own kernel beside it, with this machine's files and programs but none of its state: the guest
sees `/` read-only through a file share, writes go to memory and are gone afterwards, and modules load on demand.

`provision` fetches what is needed once, `initramfs` and `job` say what the guest does, `qemu` which machine it is, `shares`
how files get in, `guest` runs it. Only the standard library is used: this must work before any environment exists.
"""
