"""The kernel's program against the Python it repeats, through BPF_PROG_TEST_RUN: no packet leaves the test."""
