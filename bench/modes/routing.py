"""Plain routing: the gateway forwards, and changes nothing but TTL and MAC addresses. Nothing that changes more can be faster."""

from contextlib import AbstractContextManager, nullcontext

from bench.modes.mode import Mode
from bench.rig.topology import CLIENT, REAL_SERVERS, Site


def _opened(_site: Site, _shards: int) -> AbstractContextManager[None]:
    return nullcontext()


ROUTING = Mode("routing", "plain routing", REAL_SERVERS, (CLIENT,), _opened)
