"""One check: it is made within its time, and ends with an answer whatever happens."""

import errno
import itertools
import os
import ssl
import time

import aiohttp

from appliance.health.answer import Answer, Outcome, failed, undecided
from appliance.health.check import Check, Target
from appliance.probes import command, http, icmp, tcp, udp
from appliance.probes.patience import patience
from appliance.probes.sockets import Source, SourceError

_PROBES = {"tcp": tcp.probe, "http": http.probe, "https": http.probe, "udp": udp.probe, "icmp": icmp.probe}

_OURS = (
    errno.EADDRNOTAVAIL,
    errno.EADDRINUSE,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EPERM,
    errno.EACCES,
)
"""What keeps this host from asking, for instance a firewall of its own."""

_turns = itertools.count()


async def ask(check: Check, target: Target) -> Answer:
    """The answer to a check. An error of ours says nothing of the real server. Only a cancellation is raised."""
    began = time.monotonic()
    try:
        async with patience(check.timeout_s):
            answer = await _ask(check, target)
    except TimeoutError:
        return failed(f"no answer within {check.timeout_s:g} s")
    except aiohttp.ClientConnectorCertificateError as error:
        return failed(f"the certificate is refused: {error.certificate_error}")
    except aiohttp.ClientConnectorError as error:
        return _of_error(error.os_error)
    except OSError as error:
        return _of_error(error)
    except aiohttp.ClientError as error:
        return failed(str(error) or type(error).__name__)
    except Exception as error:  # whatever it is, the state of a real server must not change by it
        return undecided(f"an error of the check itself: {error!r}")
    took_ms = (time.monotonic() - began) * 1000
    return answer._replace(words=f"{answer.words} in {took_ms:.1f} ms") if answer.outcome is Outcome.PASSED else answer


async def _ask(check: Check, target: Target) -> Answer:
    if check.kind == "command":
        return await command.probe(check, target)
    address = check.sources[next(_turns) % len(check.sources)]
    return await _PROBES[check.kind](check, target, Source(address, check.own_ports))


def _of_error(error: OSError) -> Answer:
    """An error of ours says nothing of the real server; all others do, such as a refusal, or that there is no way to it."""
    if isinstance(error, ssl.SSLError):  # its number is one of OpenSSL
        return failed(f"TLS: {error.reason or error}")
    words = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error) or type(error).__name__
    if isinstance(error, SourceError):
        return undecided(str(error.strerror))
    return undecided(f"the check could not be sent: {words}") if error.errno in _OURS else failed(words)
