"""What many sessions cost one shard: memory, time a packet, and the longest pause."""
