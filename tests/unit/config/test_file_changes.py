"""config/file_changes.py: a file that is read again changes what it says something new of, and leaves the rest as it runs."""

import pytest

from appliance.config.edits import edited, look_up
from appliance.config.file_changes import changed_in_file, with_same_services
from appliance.config.loading import Config, ConfigError, parse
from appliance.model.edit import MERGE, POOL, REMOVE, REPLACE, SERVICE, Edit, Subject
from tests.support.api_changes import SHIPPED

FILE = parse(SHIPPED, "lvs.toml")
WEB, NAMES, NEW = (Subject(SERVICE, name) for name in ("web", "names", "new"))
SPARE = Subject(POOL, "spare")


def changed(config: Config, *edits: Edit) -> Config:
    for edit in edits:
        config = edited(config, edit)
    return config


SCHEDULER = Edit(MERGE, WEB, {"scheduler": "wlc"})
OTHER_SCHEDULER = Edit(MERGE, WEB, {"scheduler": "mh"})
ADDED = Edit(REPLACE, NEW, {"vip": "203.0.113.80", "port": 80})
WITHOUT_NAMES = Edit(REMOVE, NAMES)
POOL_CHANGED = Edit(REPLACE, SPARE, {"addresses": ["192.0.2.40"]})


@pytest.mark.parametrize("edit", [SCHEDULER, ADDED, WITHOUT_NAMES, POOL_CHANGED])
def test_a_file_that_says_the_same_again_leaves_everything_as_it_runs(edit: Edit) -> None:
    running = changed(FILE, edit)
    assert changed_in_file(running, FILE, FILE) == running


@pytest.mark.parametrize("edit", [SCHEDULER, ADDED, WITHOUT_NAMES, POOL_CHANGED])
def test_what_the_file_changes_is_in_force_then(edit: Edit) -> None:
    assert changed_in_file(FILE, FILE, changed(FILE, edit)) == changed(FILE, edit)


def test_changes_of_different_services_come_together() -> None:
    wanted = changed_in_file(changed(FILE, SCHEDULER), FILE, changed(FILE, WITHOUT_NAMES, POOL_CHANGED))
    assert wanted == changed(FILE, SCHEDULER, WITHOUT_NAMES, POOL_CHANGED)


def test_of_the_same_service_the_file_has_the_last_word() -> None:
    wanted = changed_in_file(changed(FILE, SCHEDULER), FILE, changed(FILE, OTHER_SCHEDULER))
    assert look_up(wanted, WEB) == look_up(changed(FILE, OTHER_SCHEDULER), WEB)


def test_services_of_which_the_file_says_the_same_are_those_that_run() -> None:
    """So that nobody has to compare thousands of them again."""
    running, after = changed(FILE, SCHEDULER), parse(SHIPPED, "lvs.toml")
    wanted = changed_in_file(running, FILE, after)
    assert all(one is other for one, other in zip(wanted.services, running.services, strict=True))
    is_same = [one is other for one, other in zip(with_same_services(running, after).services, running.services, strict=True)]
    assert is_same == [service.name != WEB.name for service in running.services]
    wordy = parse(SHIPPED.replace('protocol = "udp"', 'protocol = "udp"\nmax_conn = 0'), "lvs.toml")
    assert with_same_services(FILE, wordy).services[-1] is wordy.services[-1], "equal, but it says more"


def test_tunables_are_those_of_the_file() -> None:
    after = parse(SHIPPED.replace("[sysctl]\n", "[sysctl]\nexpire_nodest_conn = 1\n"), "lvs.toml")
    assert changed_in_file(changed(FILE, SCHEDULER), FILE, after).sysctl["expire_nodest_conn"] == 1


def test_what_does_not_fit_together_is_refused() -> None:
    running = changed(FILE, ADDED)
    after = changed(FILE, Edit(REPLACE, Subject(SERVICE, "other"), {"vip": "203.0.113.80", "port": 80}))
    with pytest.raises(ConfigError, match="is already served"):
        changed_in_file(running, FILE, after)


def with_log(target: str) -> Config:
    return FILE.model_copy(update={"session_log": FILE.session_log.model_copy(update={"target": target})})


def test_the_session_log_stays_as_it_runs_until_the_file_says_something_new_of_it() -> None:
    assert changed_in_file(with_log("journal"), FILE, FILE).session_log.target == "journal"
    assert changed_in_file(with_log("journal"), FILE, with_log("file")).session_log.target == "file"
    assert changed_in_file(changed(with_log("journal"), SCHEDULER), FILE, FILE) == changed(with_log("journal"), SCHEDULER)


def test_a_log_that_names_a_service_which_the_file_no_longer_has_is_refused() -> None:
    there = changed(FILE, ADDED)
    log = FILE.session_log.model_copy(update={"services": ("other",)})
    with pytest.raises(ConfigError, match="is no service"):
        changed_in_file(there.model_copy(update={"session_log": log}), there, FILE)
