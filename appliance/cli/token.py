"""`appliance token`: make a token for the admin API. It asks no appliance, and writes no file."""

import argparse
import secrets
import sys

from appliance.cli.operator import describe
from appliance.model.token import NAME_RULE, SECRET_BYTES, is_name, line_of, text_of

_TOKEN = """\
Make a token for the admin API. Standard output gets its line for api.tokens_file, so that `>>` adds it there; standard error gets
the token itself, which is shown here and nowhere else. The line has only a hash of it. The token is valid after a reload.
"""


def add_token(token: argparse.ArgumentParser) -> None:
    """Add the options of `token`."""
    describe(token, _new, _TOKEN, "token new grafana --read-only >>/etc/appliance/tokens")
    token.add_argument("action", choices=["new"], help="new: make a token, and print it and its line for api.tokens_file")
    token.add_argument("name", metavar="NAME", type=_name, help=f"the name of the token, for logs: {NAME_RULE}")
    token.add_argument("--read-only", action="store_true", help="the token may read and not change anything")


def _name(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name; a name is {NAME_RULE}")
    return text


def _new(options: argparse.Namespace) -> int:
    text = text_of(secrets.token_bytes(SECRET_BYTES))
    print(line_of(options.name, text, may_write=not options.read_only))
    print(text, file=sys.stderr)
    return 0
