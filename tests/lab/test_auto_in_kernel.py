"""A service in "auto" under a flood, with `synproxy_in_kernel`: the kernel answers while it lasts, and not before or after it."""

import os
from collections.abc import Iterator

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.floods import ended_of_a_flood, give_spoofed_answers_a_next_hop, syn_flood
from tests.lab.shipped_config import SHIPPED

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

SHARDS = 2
CONNECTIONS = 100
RATE_PER_S, SECONDS = 5000, 4
BACKLOG, HALF_OPEN_MS = 64, 1000


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    """Half-open sessions are few, and do not last."""
    for lab in running_lab("--config", str(SHIPPED), "--shards", str(SHARDS)):
        give_spoofed_answers_a_next_hop(lab)
        for name, value in {
            "synproxy_in_kernel": 1,
            "tcp_max_syn_backlog": BACKLOG,
            "tcp_timeout_syn_recv": HALF_OPEN_MS,
        }.items():
            lab.set_tunable(name, value)
        yield lab


def connect(lab: RunningLab) -> None:
    result = lab.script("client", "http_load.py", str(CONNECTIONS), "4")
    assert (result["ok"], result["errors"], result["clients"]) == (CONNECTIONS, {}, {"right": CONNECTIONS})


def cookies(lab: RunningLab) -> tuple[int, int]:
    """How many cookies were sent: by the kernel, and in all."""
    totals = lab.totals("ext")
    return lab.api_json("/stats/lane")["counters"]["cookie_sent"], totals["synproxy_syn_cnt"]


def edges(lab: RunningLab) -> tuple[int, int]:
    """How often shards have engaged and disengaged."""
    totals = lab.totals("queues")
    return totals["syncookies_engaged"], totals["syncookies_disengaged"]


def is_engaged(lab: RunningLab) -> bool:
    (service,) = lab.api_json("/stats/ip_vs")["services"]
    return bool(service["engaged"])


def connects_without_cookies(lab: RunningLab) -> bool:
    before = cookies(lab)
    connect(lab)
    return cookies(lab) == before


def strays(lab: RunningLab, reason: str, in_kernel: str, *arguments: str) -> tuple[int, int]:
    """How many packets of a flood that belongs to no session ended for this reason: in all, and in the kernel. Clients are
    served meanwhile."""
    with lab.changed(strays_in_kernel=1):
        return ended_of_a_flood(lab, arguments, ("drops", reason), in_kernel, connect)


def test_acknowledgements_of_nobody_end_in_the_kernel_while_nobody_has_a_cookie(lab: RunningLab) -> None:
    """As strays of a service without SYNPROXY. A few go up to the workers, which may have an answer."""
    in_all, of_kernel = strays(lab, "no_session", "stray", "32")
    assert of_kernel > in_all * 3 // 4
    assert lab.counter("drops", "bad_cookie") == 0


def test_the_kernel_answers_a_flood_of_a_service_in_auto_and_stops_when_it_is_over(lab: RunningLab) -> None:
    assert connects_without_cookies(lab)
    assert (cookies(lab), edges(lab)) == ((0, 0), (0, 0))
    proven = lab.counter("ext", "synproxy_ok_ack")
    with syn_flood(lab, RATE_PER_S, SECONDS) as flood:
        lab.wait_until("both shards have engaged", lambda: edges(lab)[0] >= SHARDS)
        lab.wait_until("the kernel answers", lambda: cookies(lab)[0] > 0)
        connect(lab)
        flood.sent()
    lab.wait_until("clients were proven", lambda: lab.counter("ext", "synproxy_ok_ack") - proven >= CONNECTIONS)
    by_kernel, by_all = cookies(lab)
    assert by_kernel > by_all - by_kernel, "the workers answer until it begins"
    lab.wait_until("all have disengaged", lambda: len(set(edges(lab))) == 1 and not is_engaged(lab))
    lab.wait_until("clients get no cookies any more", lambda: connects_without_cookies(lab))


def test_acknowledgements_of_nobody_end_in_the_kernel_while_clients_may_have_cookies(lab: RunningLab) -> None:
    """Those that were sent in the flood before. A client that returns one is served, whoever has sent it."""
    with lab.changed(tcp_syncookies=2):
        in_all, of_kernel = strays(lab, "bad_cookie", "bad_cookie", "32")
        assert of_kernel > in_all * 3 // 4
        with lab.changed(synproxy_in_kernel=0):
            in_all, of_kernel = strays(lab, "bad_cookie", "bad_cookie", "32")
            assert of_kernel > in_all * 3 // 4
    in_all, of_kernel = strays(lab, "bad_cookie", "bad_cookie", "32")
    assert of_kernel > in_all * 3 // 4
    resets, of_kernel = strays(lab, "no_session", "stray", "0", "4")
    assert of_kernel > resets * 9 // 10


def lane_counts(lab: RunningLab) -> dict[str, int]:
    counts: dict[str, int] = lab.api_json("/stats/lane")["counters"]
    return counts


def problems(lab: RunningLab) -> object:
    """What a look at all shards has found; None while one of them has not looked."""
    return lab.api_json("/stats/consistency").get("problems")


def test_clients_are_admitted_by_the_kernel_while_the_flood_lasts(lab: RunningLab) -> None:
    """A worker has prepared sessions for them, and none of the flood takes one."""
    lab.wait_until("no shard is engaged", lambda: len(set(edges(lab))) == 1 and not is_engaged(lab))
    engaged, before = edges(lab)[0], lane_counts(lab)
    with syn_flood(lab, RATE_PER_S, 2 * SECONDS) as flood:
        lab.wait_until("both shards have engaged", lambda: edges(lab)[0] - engaged >= SHARDS)
        lab.wait_until("the kernel admits clients", lambda: is_admitting(lab))
        flood.sent()
    now = lane_counts(lab)
    assert now["joined"] - before["joined"] >= CONNECTIONS // 2
    assert now["opened"] - before["opened"] < RATE_PER_S, "the flood has opened some until its service engaged"
    lab.wait_until("all have disengaged", lambda: len(set(edges(lab))) == 1 and not is_engaged(lab))
    lab.wait_until("all books agree", lambda: problems(lab) == [])
    lab.wait_until("clients get no cookies any more", lambda: connects_without_cookies(lab))


def is_admitting(lab: RunningLab) -> bool:
    """Whether most of some clients are admitted without a worker, by cookies that they return."""
    before = lane_counts(lab)["joined"]
    connect(lab)
    return lane_counts(lab)["joined"] - before >= CONNECTIONS // 2


def test_the_workers_answer_when_the_kernel_is_not_to(lab: RunningLab) -> None:
    lab.wait_until("no shard is engaged", lambda: len(set(edges(lab))) == 1)
    with lab.changed(synproxy_in_kernel=0):
        before, engaged = cookies(lab), edges(lab)[0]
        with syn_flood(lab, RATE_PER_S // 5, 2) as flood:
            lab.wait_until("both shards have engaged", lambda: edges(lab)[0] - engaged >= SHARDS)
            connect(lab)
            flood.sent()
        lab.wait_until("the workers have answered", lambda: cookies(lab)[1] > before[1])
        assert cookies(lab)[0] == before[0]
        lab.wait_until("all have disengaged", lambda: len(set(edges(lab))) == 1)
