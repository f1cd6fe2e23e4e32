"""How many health checks there may be at once."""

import resource

MOST_AT_ONCE = 4000
"""So many checks of real servers that do not answer can wait for the end of their time without holding up others: with a timeout
of a second, all that begin meanwhile, and as many more."""
MOST_COMMANDS_AT_ONCE = 32
_DESCRIPTORS = 16_384
"""How many descriptors a director wants; half of them are for checks."""


def most_at_once() -> int:
    """How many checks with a socket there may be at once: half of the descriptors at most, whose limit is raised if it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return MOST_AT_ONCE if soft == resource.RLIM_INFINITY else max(1, min(MOST_AT_ONCE, soft // 2))
