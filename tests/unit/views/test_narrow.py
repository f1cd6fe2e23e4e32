"""views/narrow.py: what fits 80 columns, made from the JSON of views that are wider."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from appliance.director.events import Events
from appliance.ipc.rows import RealServerHealth, ServiceHealth, SessionRow
from appliance.model.host_parameter import HostReading
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.rates import Rates
from appliance.model.tunables import TUNABLES
from appliance.model.verdicts import VERDICTS
from appliance.views import counters, health, host_parameters, narrow, sessions
from appliance.views import drain as drain_views
from appliance.views.attack import attacks
from appliance.views.config import services
from appliance.views.tunables import all_tunables
from tests.support.gateway import SESSION, UDP_SESSION, shared_state
from tests.support.gateway import attacks as watched

MOST = 2**64 - 1
LONGEST = "255.255.255.255:65535"
NAME = "a-service-with-a-name-that-is-long"


def full(shards: int = 8) -> Any:
    """Memory in which every counter has its largest value."""
    shared = shared_state(shards, destinations=2)
    for row in range(shards + 1):
        for table in ("ext", "verdicts", "queue"):
            numbers = shared.table(row, table)
            for place in range(len(numbers)):
                numbers[place] = 10**15
        numbers = shared.all_destinations(row)
        for place in range(len(numbers)):
            numbers[place] = 10**15
    shared.set_tunables({name: tunable.max for name, tunable in TUNABLES.items()})
    return shared


def healths() -> list[ServiceHealth]:
    well = RealServerHealth("255.255.255.255", 65535, "up", True, "command", 10**8 + 0.5, 0, "passed", "x" * 200, draining=True)
    ill = well._replace(state="down", last_answer="refused", contrary=2, backup=False, draining=False)
    return [ServiceHealth(NAME, "no real server is up", 1, "refuse", "leave", [well, ill])]


def host_readings() -> list[HostReading]:
    values = dict.fromkeys(("all", "default", *(f"interface{number:06}" for number in range(5))), (2**31 - 1,) * 3)
    return [
        HostReading(parameter, values if parameter.per_interface else {"": (2**31 - 1,) * 3}, "writable", "")
        for parameter in HOST_PARAMETERS.values()
    ]


def events() -> Any:
    kept = Events(lambda: 1.5)
    kept.add("drain-deadline", NAME, LONGEST, "some words")
    return drain_views.events(kept.since(0, 10)).data


TUNABLES_AT_DEFAULT = {name: tunable.default for name, tunable in TUNABLES.items()}
WIDEST = SESSION._replace(client=LONGEST, vip=LONGEST, local=LONGEST, real_server=LONGEST)
CONFIGURED = {
    "name": NAME,
    "vip": "255.255.255.255",
    "port": 65535,
    "scheduler": "wlc",
    "local_addresses": "a-long-name-of-a-pool",
}
TEXTS: dict[str, Callable[[], str]] = {
    "counters": lambda: narrow.totals(counters.ext_stats(full(), {}).data),
    "queues": lambda: narrow.totals(counters.queues(full()).data),
    "drops": lambda: narrow.drops(counters.drops(full()).data),
    "traffic": lambda: narrow.traffic(counters.traffic(full(), Rates()).data),
    "sysctl": lambda: narrow.tunables(all_tunables(full()).data),
    "host": lambda: narrow.host_parameters(host_parameters.all_parameters(host_readings(), TUNABLES_AT_DEFAULT).data),
    "services": lambda: narrow.services(services([CONFIGURED]).data),
    "health": lambda: narrow.health(health.real_server_health(healths(), []).data),
    "events": lambda: narrow.events(events()),
    "session": lambda: "\n".join(map(narrow.session, listing(WIDEST))),
}


def listing(row: SessionRow = SESSION) -> list[str]:
    return sessions.page([row, UDP_SESSION]).text.splitlines()


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_as_wide_as_it_can_be_fits(name: str) -> None:
    assert max(map(len, TEXTS[name]().splitlines())) <= 80


def test_drops_are_sorted_and_say_what_they_mean() -> None:
    shared = shared_state(shards=2, destinations=1)
    by_name = {verdict.name: verdict for verdict in VERDICTS}
    shared.table(0, "verdicts")[by_name["table_full"].index] = 3
    shared.table(1, "verdicts")[by_name["table_full"].index] = 4
    shared.table(2, "verdicts")[by_name["local_ports_exhausted"].index] = 9
    shared.table(0, "verdicts")[by_name["cookie_sent"].index] = 100
    data = counters.drops(shared).data
    lines = narrow.drops(data).splitlines()
    shown = [line.split()[:2] for line in lines[1:] if not line.startswith(" ")]
    assert [row for row in shown if row[0] != "cookie_sent"] == [["local_ports_exhausted", "9"], ["table_full", "7"]]
    assert by_name["table_full"].summary[:20] in narrow.drops(data)
    assert len(narrow.drops(data, with_zeros=True).splitlines()) > len(data)


def test_without_drops_there_is_a_sentence() -> None:
    assert narrow.drops(counters.drops(shared_state(1, 1)).data) == "every packet was translated\n"


def test_a_reason_that_this_version_does_not_know_has_no_meaning() -> None:
    assert narrow.drops({"new_one": {"total": 1}}).splitlines()[1].split() == ["new_one", "1"]


def test_health_says_below_those_that_are_not_well_what_their_checks_answered() -> None:
    text = narrow.health(health.real_server_health(healths(), []).data)
    head, well, ill, answer, trouble = text.splitlines()
    assert head.split() == ["service", "real", "server", "state", "since_s", "check"]
    assert well.split()[:5] == ["a-service-wit~", LONGEST, "up,", "drained,", "backup"]
    assert ill.split()[:3] == ["a-service-wit~", LONGEST, "down"]
    assert answer == "    last answer: refused (2 against)"
    assert trouble == f"{NAME} is down: no real server is up"


def test_a_real_server_that_wavers_is_shown_with_its_answer() -> None:
    [service] = healths()
    wavers = service.real_servers[0]._replace(contrary=1, last_answer="")
    text = narrow.health(health.real_server_health([service._replace(real_servers=[wavers])], []).data)
    assert "    last answer: - (1 against)\n" in text


def test_attacks_have_their_rules_below_them() -> None:
    watch = watched()
    text = narrow.attacks(attacks(watch.under_way.values(), watch.ended).data)
    assert text.startswith("under attack: ")
    assert text.count("    dropped by ") == len(attacks(watch.under_way.values(), watch.ended).data["under_way"]) + len(
        watch.ended
    )
    assert max(len(line) for line in text.splitlines()[1:]) <= 80
    assert narrow.attacks(attacks([], []).data) == "no attack\n"


def test_events_have_their_text_below_them() -> None:
    head, event, text = narrow.events(events()).splitlines()
    assert head.split() == ["number", "time", "(UTC)", "kind", "service"]
    assert event.split()[1:] == ["1970-01-01", "00:00:01", "drain-deadline", "a-service-wit~"]
    assert text == f"    {LONGEST}  some words"


def test_a_session_has_its_state_and_its_ends() -> None:
    first, head, tcp, udp = map(narrow.session, listing())
    assert first == "IPVS connection entries"
    assert head.split() == ["state", "source", "virtual", "destination"]
    assert tcp.split() == ["ESTABLISHED", "198.51.100.2:40000", "203.0.113.10:80", "192.0.2.101:8080"]
    assert udp.split() == ["UDP", "198.51.100.2:40000", "203.0.113.10:80", "192.0.2.101:53"]
    assert head.index("virtual") == tcp.index("203.0.113.10:80") == udp.index("203.0.113.10:80")


@pytest.mark.parametrize("line", ["", "more words", "a b c d e f"])
def test_a_line_that_is_none_of_a_listing_stays(line: str) -> None:
    assert narrow.session(line) == line


def test_traffic_has_totals_and_rates() -> None:
    lines = narrow.traffic(counters.traffic(full(1), Rates()).data).splitlines()
    assert lines[0].split() == ["total", "per", "second"]
    assert lines[1].split() == ["conns", str(4 * 10**15), "0.0"]


@pytest.mark.parametrize(
    "view", [narrow.totals, narrow.drops, narrow.traffic, narrow.tunables, narrow.health, narrow.events, narrow.attacks]
)
@pytest.mark.parametrize("data", [None, [], 5, {"a": 1}, {"a": {"total": "x" * 3}}, {"services": 3}, {"services": [3]}])
def test_what_is_of_another_form_is_one_of_a_few_errors_or_a_text(view: Callable[[Any], str], data: Any) -> None:
    with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
        assert isinstance(view(data), str)
