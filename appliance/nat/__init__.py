"""FULLNAT: a client's packet to the VIP leaves as a packet of a local address to the real server, and the reply the other way.

So a real server needs no route to any client and no special set-up. It may import `wire`, `model` and `state`.
"""
