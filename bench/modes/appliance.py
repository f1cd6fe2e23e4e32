"""The appliance, started for each measurement: as it is by default as `appliance`, without its lane as `appliance-no-lane`, and
without prepared admissions as `appliance-workers`."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from http import HTTPStatus

from appliance.lab.plan import Endpoint
from appliance.lab.readiness import http_status
from bench.modes.mode import Mode
from bench.rig.gateway import configuration
from bench.rig.processes import running_in_gateway
from bench.rig.topology import LOCAL_ADDRESSES, VIPS, Site, module

WITHOUT_PREPARED = "\n[sysctl]\nprepared_admissions = 0\n"
"""A table of the configuration: workers open all connections."""

_API = Endpoint("127.0.0.1", 9381)
"""Another than the lab's, where something else answers."""

API = f'["{_API}"]'
"""The same, as the value of a key of the configuration."""

WITH_LANE, WITHOUT_LANE = 'lane = "required"', 'lane = "off"'
"""Keys of `[gateway]`. "required" and not "auto": a lane that could not be loaded must not pass for one."""

_STOP_GRACE_S = 20.0

# The directories that network namespaces do not separate are its own, as in the lab. That for /run stays from one start to the
# next, as on a host: the key of sequence numbers is there, and without it a real server would take new connections for old ones.
_OWN_DIRECTORIES = 'mount --bind "$0" /run && mount -t tmpfs bench-shm /dev/shm && exec "$@"'


@contextmanager
def appliance_running(site: Site, shards: int, name: str, text: str) -> Iterator[None]:
    """With an appliance of that configuration, whose API is at API, and with nothing of it in the kernel afterwards. `name` tells
    its files from those of others."""
    own_run = site.directory / f"{name}-run"
    own_run.mkdir(exist_ok=True)
    file = site.directory / f"{name}.toml"
    file.write_text(text)
    command = module("appliance", "run", "--config", str(file), "--shards", str(shards))
    isolated = ("unshare", "--mount", "--", "sh", "-c", _OWN_DIRECTORIES, str(own_run), *command)
    with running_in_gateway(site, name, isolated, partial(_is_healthy, site), grace_s=_STOP_GRACE_S):
        yield


def _is_healthy(site: Site) -> bool:
    return http_status(site.gateway, _API, "/healthz") == HTTPStatus.OK


@contextmanager
def _opened(name: str, lane: str, site: Site, shards: int, *, tunables: str = "") -> Iterator[None]:
    with appliance_running(site, shards, name, configuration(lane, api=API) + tunables):
        yield


APPLIANCE_NO_LANE = Mode(
    "appliance-no-lane",
    "appliance, no lane",
    VIPS,
    LOCAL_ADDRESSES,
    partial(_opened, "appliance-no-lane", WITHOUT_LANE),
    queue_base=0,
)

APPLIANCE = APPLIANCE_NO_LANE._replace(
    name="appliance",
    title="appliance",
    opened=partial(_opened, "appliance", WITH_LANE),
    # The first SYNs, until some admissions are ready.
    queued_share=(0.0, 0.05),
    # The SYN, of some hundred and forty, at most.
    kept_share=(0.0, 0.02),
)

APPLIANCE_WORKERS = APPLIANCE._replace(
    name="appliance-workers",
    title="appliance, opened by workers",
    opened=partial(_opened, "appliance-workers", WITH_LANE, tunables=WITHOUT_PREPARED),
    # One packet of a short connection, its SYN, of ten.
    queued_share=(0.08, 0.15),
)

RUNNING_APPLIANCE = APPLIANCE._replace(opened=lambda _site, _shards: nullcontext())
"""The appliance of a lab in which it runs all the time, with the lane."""
