"""Which real server gets the next connection: one file a scheduler, and `registry` with their names.

A scheduler sees candidates and the client's key, and nothing else.
"""
