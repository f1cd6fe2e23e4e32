"""Removes a lab by its name. What does not exist any more is no error."""

import shutil
import sys

from appliance.lab import namespaces
from appliance.lab.names import ROLES, LabName, labs_on_disk
from appliance.lab.processes import end_processes

_STOP_GRACE_S = 15.0


def remove_lab(name: LabName) -> None:
    """End every process in the lab's namespaces, delete the namespaces, then the directory.

    The directory is deleted last: as long as it exists, the next lab knows that there may be leftovers.
    """
    ours = [name.namespace(role) for role in ROLES]
    identities = {found for namespace in ours if (found := namespaces.identity(namespace))}
    survivors = end_processes(identities, _STOP_GRACE_S) if identities else 0
    if survivors:
        print(f"appliance lab: {name}: {survivors} process(es) could not be killed", file=sys.stderr)
    for namespace in ours:
        namespaces.delete(namespace)
    shutil.rmtree(name.directory, ignore_errors=True)


def lab_exists(name: LabName) -> bool:
    """Whether any part of the lab exists."""
    return name.directory.exists() or any(namespaces.identity(name.namespace(role)) for role in ROLES)


def remove_leftovers() -> None:
    """Remove every lab whose owner died without removing it, except the labs that are kept."""
    for name in labs_on_disk():
        if not name.owner_is_alive() and not _is_kept(name):
            remove_lab(name)


def _is_kept(name: LabName) -> bool:
    # The mark of a kept lab survives a reboot, but its namespaces do not: without them there is nothing to keep.
    return name.kept_mark.exists() and namespaces.identity(name.namespace("gateway")) is not None
