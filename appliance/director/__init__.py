"""The parent process: it prepares the host, keeps workers alive, reads what the kernel counts, changes what is in force.

It never sees a packet. It may import everything but the packet path (`state`, `nat`, `proxy`, `sessions`, `shard`) and the
surfaces (`rest`, `api`, `cli`).
"""
