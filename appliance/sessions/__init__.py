"""The life of sessions: how one is opened, limited, timed out, ended, listed and cut.

One shard's sessions, of TCP and UDP, begin and end in `lifecycle` and nowhere else. It may import `state`, `nat` and what is
below them.
"""
