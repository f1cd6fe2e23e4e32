"""The doctor: what is wrong with a gateway and its host, found in facts that others have collected.

It may import `wire`, `model`, `policy` and `ipc`. One function for each kind of finding; `registry` lists them.
"""
