"""Programs that measure the appliance, one folder each, and what they share.

- `compare`: connections, requests, bulk traffic, small packets, waits and CPU time, beside plain routing, nft NAT, HAProxy and a
  bare queue loop. `modes` has a file for each of them, `measures` one for each load.
- `flood`: fresh connections under a SYN flood, beside the kernel's own SYNPROXY, and services that are not always behind it.
- `defence`: requests while a VIP is flooded with packets that belong to no session.
- `sessions`: what a hundred thousand and a million sessions cost one shard; no root, no kernel.
- `transfers`: bulk traffic through a proxied service, beside a plain one.
- `lane_cost`: the Python of a connection in the lane, with the maps of the kernel.
- `packet_cost`, `connection_cost`: the Python of one packet of an established session, and of a whole connection; no root, no
  kernel.
- `scale`: thousands of services: what it takes to check, start, change and show them, and what a packet costs beside them.
- `senders`: the flooders. `rig`: the network, the servers, the load generators, CPU time and the checks that the programs share.
"""
