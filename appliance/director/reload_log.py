"""What a change of the configuration says in the log when it is over."""

import logging

from appliance.config.changes import Reload

log = logging.getLogger("appliance.director")


def say_refused(error: Exception) -> None:
    """Each reason is a line of its own, and the last line says that nothing has changed."""
    for line in str(error).splitlines():
        log.error("%s", line)
    log.error("reload refused, nothing has changed")


def say_done(changes: Reload, tunables: int, what: str) -> None:
    """`what` has happened. Of the tunables of the configuration, as many as `tunables` were not in force already."""
    lines = (*changes.lines, *changes.session_log)
    for line in lines:
        log.info("%s", line)
    log.info("%s, changes: %d", what, tunables + len(changes.host_parameters) + len(lines))
