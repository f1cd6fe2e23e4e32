"""What several tests need: packets, a world with two ends around a shard, the language of the fuzzers, and a stand-in for the
gateway behind the API. Nothing here is a test; each file is itself tested, in the file of tests/unit/support with its name."""
