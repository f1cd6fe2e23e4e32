"""The ports that health checks use on local addresses, and how their packets pass the steering.

A check that comes from a local address takes the way of the traffic, so it finds out what the traffic would. But packets of real
servers to local addresses belong to the shards, and the host's own TCP must never see those of a session. Sessions use ports from
1025 on, whatever the tunables say; so the ports below are for checks, and packets to them go to the host.
"""

FIRST, LAST = 512, 1024
"""Both included. Those below 1024 need CAP_NET_BIND_SERVICE; without it, checks have the last one."""

TO_CHECKS = f"th dport {FIRST}-{LAST}"
"""The nft expression for a packet to a local address that is for a check."""
