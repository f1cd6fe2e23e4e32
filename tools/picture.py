"""Draw the pictures of docs/images from their sources of the same names, with Graphviz: `python -m tools.picture`.

The pictures are kept in the repository, so that neither readers nor the manual's build need Graphviz. Each carries the digest of
its source; a test compares the two, and finds a source that was changed and not drawn.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

_IMAGES = Path(__file__).parent.parent / "docs" / "images"

SOURCES = {
    _IMAGES / "packet-way.dot": "The way of a packet: client, steering, packet queue, worker, routing, real server, and back",
    _IMAGES
    / "one-connection.dot": "The packets of one connection: through a worker, in the lane, with a prepared admission, with a "
    "SYN cookie of the kernel",
}
"""The title of each picture, by its source."""


def digest(source: str) -> str:
    """The SHA-256 of a picture's source, in hexadecimal."""
    return hashlib.sha256(source.encode()).hexdigest()


def source_digest_of(svg: str) -> str | None:
    """The digest of the source that a picture was drawn from; None when it does not say."""
    found = re.search(r"<!-- drawn from \S+, SHA-256 ([0-9a-f]{64}) -->", svg)
    return found[1] if found else None


def picture_of(source: Path) -> Path:
    """Where the picture of a source is."""
    return source.with_suffix(".svg")


def draw(source: str, name: str, title: str) -> str:
    """The picture of a source with this file name, as SVG. Raises CalledProcessError when Graphviz does not understand it."""
    drawn = subprocess.run(["dot", "-Tsvg"], input=source, capture_output=True, text=True, check=True).stdout
    # Graphviz writes its version and a document type with an address; neither belongs into a file that others draw again.
    body = drawn[drawn.index("<svg") :]
    body = re.sub(r"<!--.*?-->\n?", "", body, flags=re.DOTALL)
    body = re.sub(r"<title>.*?</title>\n?", "", body)  # one for each shape, which browsers show as hints
    body = body.replace(">", f' role="img">\n<title>{title}</title>', 1)
    body = body.replace('stroke="transparent"', 'stroke="none"')
    return f"<!-- drawn from {name}, SHA-256 {digest(source)} -->\n{body}"


def main() -> int:
    """Draw each picture anew that is not drawn from its source as it is now; returns the exit code."""
    for path, title in SOURCES.items():
        source, picture = path.read_text(), picture_of(path)
        if picture.exists() and source_digest_of(picture.read_text()) == digest(source):
            continue
        if not shutil.which("dot"):
            print(f"{picture.name} is older than {path.name}; drawing it needs the Debian package graphviz", file=sys.stderr)
            return 1
        picture.write_text(draw(source, path.name, title))
    return 0


if __name__ == "__main__":
    sys.exit(main())
