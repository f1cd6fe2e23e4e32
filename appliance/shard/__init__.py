"""One worker's whole world: a packet comes in as bytes, a verdict goes out.

`shard` is the way of nearly all packets; the other files are the ways that turn off from it. It may import everything that
is pure.
"""
