"""SYNPROXY: a client is answered with a cookie, and a real server hears only of clients that returned theirs.

It may import `sessions`, `nat`, `state` and what is below them.
"""
