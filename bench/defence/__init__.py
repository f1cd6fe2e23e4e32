"""Requests while a VIP is flooded with UDP, fragments and TCP packets that belong to no session."""
