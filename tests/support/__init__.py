"""What several tests need: packets, a world with two ends around a shard, the language of the fuzzers, and a stand-in for the
gateway behind the API. Nothing here is a test. tests/unit/support has a test for each file; tests/project/test_tests.py says
which go without one."""
