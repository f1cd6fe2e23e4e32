"""`python -m bench`: the same as `python -m bench.throughput`."""

import sys

from bench.throughput.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
