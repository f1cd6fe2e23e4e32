"""How long a small request waits beside a bulk stream in the same shard."""
