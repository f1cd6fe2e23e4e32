"""L0: bytes and fields. No state, no policy, no clock.

Lengths are checked once, at the door (`Shard.handle`): what comes further is a whole, unfragmented IPv4 packet without options
that carries a whole TCP header, or a whole ICMP packet. Whatever writes a field moves the checksums with it.
"""
