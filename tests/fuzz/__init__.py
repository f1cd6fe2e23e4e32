"""The shard under a coverage-guided fuzzer, which keeps each input that reaches a branch for the first time."""
