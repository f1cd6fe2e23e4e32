"""The configuration that the project ships, with another protection for its service."""

from pathlib import Path

SHIPPED = Path(__file__).parents[2] / "etc" / "lvs.toml"
_DEFAULT = '\nsynproxy = "auto"\n'


def with_synproxy(value: str) -> str:
    """The text of the shipped configuration, in which `synproxy` of the one service is `value`.

    It fails when the shipped value is another one than here: a test would otherwise go on with that.
    """
    shipped = SHIPPED.read_text()
    assert shipped.count(_DEFAULT) == 1
    return shipped.replace(_DEFAULT, f"\nsynproxy = {value}\n")
