"""The shard under a coverage-guided fuzzer, which keeps whatever input reaches a branch that none before it reached."""
