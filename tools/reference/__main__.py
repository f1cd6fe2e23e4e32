"""Write all reference pages anew."""

import sys
from pathlib import Path

from tools.reference.pages import PAGES

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


def main() -> int:
    """Write the pages, remove pages that there are no more, and return the exit code."""
    for stale in set(FOLDER.glob("*.md")) - {FOLDER / f"{name}.md" for name in PAGES}:
        stale.unlink()
    for name, page in PAGES.items():
        (FOLDER / f"{name}.md").write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
