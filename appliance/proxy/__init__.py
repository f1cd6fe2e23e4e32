"""SYNPROXY: a client is answered with a cookie, and only one that returns it is heard of by a real server.

It may import `sessions`, `nat`, `state` and what is below them.
"""
