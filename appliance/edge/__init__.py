"""Everything that needs root or talks to the kernel: packet queues, raw sockets, nft, netlink, /proc, shared memory.

Nothing here decides about packets. It may import `wire`, `model`, `policy`, `ipc` and `doctor`.
"""
