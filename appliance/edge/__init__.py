"""Everything that needs root or a kernel, and nothing else: queues, raw sockets, nft, netlink, /proc, shared memory.

It decides nothing about packets. It may import `wire`, `model`, `policy` and `ipc`.
"""
