"""The checks of `[api]`: listeners and keys that are right alone and wrong together, and what leaves a door open."""

from collections.abc import Iterator
from ipaddress import ip_address

from appliance.config.api_table import Api
from appliance.config.checks import repeats
from appliance.config.problems import ConfigProblem, KeyPath, key_text, value_text
from appliance.config.values import TLS

_Listed = list[tuple[KeyPath, str]]


def problems(api: Api) -> Iterator[ConfigProblem]:
    """Problems of addresses that stand there twice or are open to other hosts without a token, and of TLS without its files."""
    listed: _Listed = [(("api", "listen", index), address) for index, address in enumerate(api.listen)]
    if api.tokens_file is None and not api.allow_remote_without_token:
        for path, address in listed:
            if _is_remote(address):
                yield ConfigProblem(
                    path,
                    address,
                    f"{value_text(address)} is not a loopback address, and there is no api.tokens_file: whoever reaches it could "
                    "change everything. If that is meant, set api.allow_remote_without_token = true",
                )
    for path, address, first in repeats([(path, address.removeprefix(TLS)) for path, address in listed]):
        yield ConfigProblem(path, address, f"{value_text(address)} is already {key_text(first)}")
    yield from _tls_problems(api, listed)


def _tls_problems(api: Api, listed: _Listed) -> Iterator[ConfigProblem]:
    with_tls = [(path, address) for path, address in listed if address.startswith(TLS)]
    files = {"tls_certificate": api.tls_certificate, "tls_key": api.tls_key, "tls_client_ca": api.tls_client_ca}
    missing = [f"api.{key}" for key in ("tls_certificate", "tls_key") if files[key] is None]
    if missing and with_tls:
        path, address = with_tls[0]
        yield ConfigProblem(path, address, f"{value_text(address)} needs {' and '.join(missing)}")
    for key, file in files.items():
        if file is not None and not with_tls:
            yield ConfigProblem(("api", key), file, "is given, and no address of api.listen begins with tls:, so nothing uses it")


def warnings(api: Api) -> Iterator[str]:
    """What is allowed and leaves a door open, a sentence or two for each."""
    remote = [address for address in api.listen if _is_remote(address)]
    if not remote:
        return
    if api.allow_remote_without_token:
        yield (
            f"api.allow_remote_without_token is true: whoever reaches {', '.join(remote)} can change tunables and end sessions."
        )
    if in_clear := [address for address in remote if not address.startswith(TLS)]:
        yield (
            f"api.listen: on {', '.join(in_clear)} everything crosses the network in clear, tokens too, and whoever sees a token "
            f"can use it. Put {TLS} in front of the address."
        )


def _is_remote(address: str) -> bool:
    """Whether other hosts may reach a listener."""
    if address.startswith("unix:"):
        return False
    return not ip_address(address.removeprefix(TLS).rpartition(":")[0].strip("[]")).is_loopback
