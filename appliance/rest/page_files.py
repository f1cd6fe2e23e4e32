"""The pages for browsers: what browsers are told of them, and where files of npm packages lie that a build has fetched."""

from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

LONGEST_FILE_BYTES = 8 << 20


def places_of(package: str) -> tuple[Path, ...]:
    """Where the files of an npm package may lie: in a release, and in a source tree."""
    return _PACKAGE / package, _PACKAGE.parent / "build" / package


def find_file(places: tuple[Path, ...], name: str) -> Path | None:
    """A file of a package; None when it is not there."""
    files = (place / name for place in places)
    return next((file for file in files if file.is_file() and file.stat().st_size <= LONGEST_FILE_BYTES), None)


def page_headers(*, images: str, more: str = "") -> Mapping[str, str]:
    """The headers of a page and its files. Nothing is loaded from anywhere else, nothing on the page runs that is not a file of
    the API, and no other page shows it. `images` is the source of images, `more` stands behind the policy."""
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors 'none'{more}"
    )
    return {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
