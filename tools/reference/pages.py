"""All reference pages by the name of their file."""

from collections.abc import Callable, Mapping

from tools.reference import api, commands, configuration, counters, drop_reasons, findings, host_parameters, metrics, tunables
from tools.reference.markdown import NOTE, paragraph

_INTRODUCTION = """\
These pages are written from the lists that the code itself uses, and a test compares the two: they name everything that there
is in this version, and nothing else.
"""

_INDEX = f"""\
# Reference

{NOTE}

{paragraph(_INTRODUCTION)}

- [The configuration file](configuration.md): every key of `lvs.toml`
- [Commands](commands.md): every command with its options
- [The admin API](api.md): every route
- [Tunables](tunables.md): every number that can be changed while traffic flows
- [Host parameters](host-parameters.md): the host's own TCP, and forwarding
- [Counters](counters.md): everything that is counted
- [Drop reasons](drop-reasons.md): why a packet was not sent on, and what to do
- [Metrics](metrics.md): every number that Prometheus reads
- [Findings of the doctor](findings.md): all that it can find, and when

```{{toctree}}
:hidden:

configuration
commands
api
tunables
host-parameters
counters
drop-reasons
metrics
findings
```
"""

PAGES: Mapping[str, Callable[[], str]] = {
    "index": lambda: _INDEX,
    "configuration": configuration.page,
    "commands": commands.page,
    "api": api.page,
    "tunables": tunables.page,
    "host-parameters": host_parameters.page,
    "counters": counters.page,
    "drop-reasons": drop_reasons.page,
    "metrics": metrics.page,
    "findings": findings.page,
}
"""Name of the file, without ``.md`` -> what writes it."""
