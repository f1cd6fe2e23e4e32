"""Packets as bytes: where fields lie, checksums, sequence numbers, TCP options, flows, and packets of our own.

Nothing here has state or decides anything, and it imports nothing else of the appliance. Lengths are checked once, in
`shard.shard`: what comes further is a whole, unfragmented IPv4 packet without options that carries a whole TCP, UDP or ICMP
header. Whatever writes a field moves the checksums with it.
"""
