"""Programs that measure the appliance, one folder each, and what they share.

- `throughput`: new connections, keep-alive requests and bulk traffic, beside plain routing, nft NAT and a bare queue loop.
- `flood`: fresh connections under a SYN flood, beside the kernel's own SYNPROXY.
- `defence`: requests while a VIP is flooded with packets that belong to no session.
- `sessions`: what a hundred thousand and a million sessions cost one shard; no root, no kernel.
- `transfers`: bulk traffic through a proxied service, beside a plain one.
- `latency`: how long small requests wait beside a bulk stream in the same shard.
- `senders`: the flooders. `rig`: the network, the servers, the load and the checks that the programs share.
"""
