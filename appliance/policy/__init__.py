"""Decisions that need no session: which shard owns a packet, what the defence drops, who gets a connection, the ruleset's text.

The kernel's rules and the shards' behaviour are both made from here, so they cannot differ. It may import `wire` and `model`.
"""
