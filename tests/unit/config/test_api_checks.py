"""config/api_checks.py: listeners that need keys, keys that need listeners, and doors that stand open."""

from pathlib import Path

import pytest

from appliance.config import api_checks
from appliance.config.loading import Api, ConfigError, parse

BEFORE, _, _REST = (Path(__file__).parents[3] / "etc" / "lvs.toml").read_text().partition("[api]\n")
AFTER = _REST[_REST.index("\n[sysctl]") :]


def refused(keys: str) -> list[str]:
    """The problems of `[api]` with these keys, without the name of the file."""
    try:
        parse(f"{BEFORE}[api]\n{keys}\n{AFTER}", "f")
    except ConfigError as error:
        return [f"{problem.key}: {problem.message}" for problem in error.errors]
    return []


TLS = 'tls_certificate = "/c"\ntls_key = "/k"\n'


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "tls:192.0.2.9:1", "[::]:1", "tls:[2001:db8::1]:1"])
def test_an_address_that_others_reach_needs_tokens(listen: str) -> None:
    keys = f'listen = ["{listen}"]\n' + (TLS if "tls" in listen else "")
    assert len(refused(keys)) == 1
    assert refused(keys)[0].startswith(f'api.listen[0]: "{listen}" is not a loopback address, and there is no api.tokens_file')
    assert refused(keys + 'tokens_file = "/t"') == []
    assert refused(keys + "allow_remote_without_token = true") == []


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('listen = ["tls:127.0.0.1:1"]', 'api.listen[0]: "tls:127.0.0.1:1" needs api.tls_certificate and api.tls_key'),
        ('listen = ["tls:127.0.0.1:1"]\ntls_key = "/k"', 'api.listen[0]: "tls:127.0.0.1:1" needs api.tls_certificate'),
        ('listen = ["tls:127.0.0.1:1"]\ntls_certificate = "/c"', 'api.listen[0]: "tls:127.0.0.1:1" needs api.tls_key'),
        (
            'tls_client_ca = "/c"',
            "api.tls_client_ca: is given, and no address of api.listen begins with tls:, so nothing uses it",
        ),
        ('tokens_file = "t"', 'api.tokens_file: "t" is not the absolute path of a file'),
        ('tokens_file = "/t/"', 'api.tokens_file: "/t/" is not the absolute path of a file'),
        ("tokens_file = 1", "api.tokens_file: 1 is not a string"),
        (f'listen = ["127.0.0.1:1", "tls:127.0.0.1:1"]\n{TLS}', 'api.listen[1]: "127.0.0.1:1" is already api.listen[0]'),
    ],
)
def test_what_does_not_go_together_is_named(keys: str, problem: str) -> None:
    assert refused(keys) == [problem]


def test_tls_may_be_on_any_address() -> None:
    assert refused(f'listen = ["tls:127.0.0.1:1", "tls:[::1]:1"]\n{TLS}tls_client_ca = "/a"') == []


@pytest.mark.parametrize(
    ("listen", "without_token", "warnings"),
    [
        (("127.0.0.1:1", "unix:/a"), True, []),
        (("tls:192.0.2.9:1",), False, []),
        (("192.0.2.9:1",), False, ["in clear"]),
        (("tls:192.0.2.9:1",), True, ["whoever reaches"]),
        (("192.0.2.9:1",), True, ["whoever reaches", "in clear"]),
    ],
)
def test_open_doors_are_warned_of(listen: tuple[str, ...], without_token: bool, warnings: list[str]) -> None:
    said = list(api_checks.warnings(Api(listen=listen, allow_remote_without_token=without_token)))
    assert len(said) == len(warnings)
    assert all(word in line for word, line in zip(warnings, said, strict=True))
