"""The appliance, started for each measurement: with its lane as `appliance`, without it as `appliance-no-lane`.

KNOWS_LANE is the one place that says whether this version has a lane. Without one there is only `appliance`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from http import HTTPStatus

from appliance.config.tables import Gateway
from appliance.lab.plan import Endpoint
from appliance.lab.readiness import http_status
from bench.modes.mode import Mode
from bench.rig.gateway import configuration
from bench.rig.processes import running_in_gateway
from bench.rig.topology import LOCAL_ADDRESSES, VIPS, Site, module

KNOWS_LANE = "lane" in Gateway.model_fields

_API = Endpoint("127.0.0.1", 9381)
"""Another than the lab's, where something else answers."""

_STOP_GRACE_S = 20.0

# The directories that network namespaces do not separate are its own, as in the lab. That for /run stays from one start to the
# next, as on a host: the key of sequence numbers is there, and without it a real server would take new connections for old ones.
_OWN_DIRECTORIES = 'mount --bind "$0" /run && mount -t tmpfs bench-shm /dev/shm && exec "$@"'


def appliance_configuration(lane: str) -> str:
    """The appliance's configuration; `lane` is the value of that key, and empty for a version without it."""
    return configuration(*([f'lane = "{lane}"'] if lane else []), api=f'["{_API}"]')


@contextmanager
def _opened(name: str, lane: str, site: Site, shards: int) -> Iterator[None]:
    own_run = site.directory / f"{name}-run"
    own_run.mkdir(exist_ok=True)
    file = site.directory / f"{name}.toml"
    file.write_text(appliance_configuration(lane))
    command = module("appliance", "run", "--config", str(file), "--shards", str(shards))
    isolated = ("unshare", "--mount", "--", "sh", "-c", _OWN_DIRECTORIES, str(own_run), *command)
    with running_in_gateway(site, name, isolated, partial(_is_healthy, site), grace_s=_STOP_GRACE_S):
        yield


def _is_healthy(site: Site) -> bool:
    return http_status(site.gateway, _API, "/healthz") == HTTPStatus.OK


def _mode(name: str, title: str, lane: str, queued_share: tuple[float, float]) -> Mode:
    return Mode(name, title, VIPS, LOCAL_ADDRESSES, partial(_opened, name, lane), queue_base=0, queued_share=queued_share)


_WITHOUT = Mode._field_defaults["queued_share"]
_WITH = (0.0, 0.5)
"""With the lane hardly more than the first packet of a short connection, of some nine, is queued."""

# "required" and not "auto": a lane that could not be loaded must not pass for one.
APPLIANCE = _mode("appliance", "appliance", "required", _WITH) if KNOWS_LANE else _mode("appliance", "appliance", "", _WITHOUT)
APPLIANCE_NO_LANE = _mode("appliance-no-lane", "appliance, no lane", "off", _WITHOUT)

RUNNING_APPLIANCE = Mode(
    "appliance",
    "appliance",
    VIPS,
    LOCAL_ADDRESSES,
    lambda _site, _shards: nullcontext(),
    queue_base=0,
    queued_share=(_WITH[0] if KNOWS_LANE else _WITHOUT[0], _WITHOUT[1]),
)
"""The appliance of a lab in which it runs all the time."""
