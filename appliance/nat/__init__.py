"""L3, FULLNAT: whose addresses does this packet carry?

A client's packet to the VIP leaves as a packet of a local address to the real server, and the reply the other way round, so
a real server needs no route to any client and no special set-up.
"""
