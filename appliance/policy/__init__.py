"""Decisions that need no session: which shard owns a packet, what the defence drops, which real server is next, and the ruleset.

The kernel's rules and what the shards do are both made from these files, so they cannot differ. It may import `wire` and `model`.
"""
