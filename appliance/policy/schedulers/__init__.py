"""Schedulers: which real server gets a new session. One file for each, and `registry` has all of them by name.

A scheduler sees the candidates and the client's key, and nothing else. It may import `wire` and `model`, as all of `policy`.
"""
