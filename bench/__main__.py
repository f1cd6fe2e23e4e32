"""`python -m bench`: the same as `python -m bench.compare`."""

import sys

from bench.compare.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
