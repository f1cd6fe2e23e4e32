"""What a label may say. Pure."""

from hashlib import blake2s

LONGEST_LABEL = 120
"""Characters of a label's value. Names come from the configuration, which does not limit them; each series repeats them."""

_DIGEST_BYTES = 4


def label(text: str) -> str:
    """Any text as a label's value: valid UTF-8 of at most LONGEST_LABEL characters; two long texts that differ stay different.

    Quotes, backslashes and line ends are escaped when the page is written.
    """
    text = text.encode(errors="replace").decode()
    if len(text) <= LONGEST_LABEL:
        return text
    digest = blake2s(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{text[: LONGEST_LABEL - len(digest) - 1]}~{digest}"
