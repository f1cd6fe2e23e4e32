"""Draw docs/images/packet-way.svg from its source packet-way.dot, with Graphviz: `python -m tools.picture`.

The picture is kept in the repository, so that neither readers nor the manual's build need Graphviz. It carries the digest of
its source; a test compares the two, and finds a source that was changed and not drawn.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "docs" / "images" / "packet-way.dot"
PICTURE = SOURCE.with_suffix(".svg")

_TITLE = "The way of a packet: client, steering, packet queue, worker, routing, real server, and back"


def digest(source: str) -> str:
    """The SHA-256 of a picture's source, in hexadecimal."""
    return hashlib.sha256(source.encode()).hexdigest()


def source_digest_of(svg: str) -> str | None:
    """The digest of the source that a picture was drawn from; None when it does not say."""
    found = re.search(r"<!-- drawn from \S+, SHA-256 ([0-9a-f]{64}) -->", svg)
    return found[1] if found else None


def draw(source: str) -> str:
    """The picture of a source, as SVG. Raises CalledProcessError when Graphviz does not understand it."""
    drawn = subprocess.run(["dot", "-Tsvg"], input=source, capture_output=True, text=True, check=True).stdout
    # Graphviz writes its version and a document type with an address; neither belongs into a file that others draw again.
    body = drawn[drawn.index("<svg") :]
    body = re.sub(r"<!--.*?-->\n?", "", body, flags=re.DOTALL)
    body = re.sub(r"<title>.*?</title>\n?", "", body)  # one for each shape, which browsers show as hints
    body = body.replace(">", f' role="img">\n<title>{_TITLE}</title>', 1)
    body = body.replace('stroke="transparent"', 'stroke="none"')
    return f"<!-- drawn from {SOURCE.name}, SHA-256 {digest(source)} -->\n{body}"


def main() -> int:
    """Draw the picture anew, unless it is drawn from this source already; returns the exit code."""
    source = SOURCE.read_text()
    if PICTURE.exists() and source_digest_of(PICTURE.read_text()) == digest(source):
        return 0
    if not shutil.which("dot"):
        print(f"{PICTURE.name} is older than {SOURCE.name}; drawing it needs the Debian package graphviz", file=sys.stderr)
        return 1
    PICTURE.write_text(draw(source))
    return 0


if __name__ == "__main__":
    sys.exit(main())
