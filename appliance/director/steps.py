"""Steps of which each is worth doing, whatever becomes of the others."""

from collections.abc import Callable, Iterable

from appliance.edge.errors import EdgeError


def do_all(steps: Iterable[Callable[[], object]]) -> None:
    """Do each step, also after one that failed. Raises EdgeError with the words of all that failed."""
    failures = []
    for step in steps:
        try:
            step()
        except EdgeError as error:
            failures.append(str(error))
    if failures:
        raise EdgeError("; ".join(failures))
