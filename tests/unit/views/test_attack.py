"""views/attack.py: attacks as text and as JSON."""

from appliance.attack.kinds import KINDS
from appliance.attack.watch import AttackWatch, Clients, Look
from appliance.views.attack import attacks


def _watch(looks: int) -> AttackWatch:
    """Strays come at 2,000 a second up to the fourth look."""
    watch = AttackWatch()
    counts = dict.fromkeys((rule for kind in KINDS for rule in kind.rules), 0)
    for number in range(looks):
        counts["no_session"] = min(number, 3) * 4000
        watch.look(Look(2.0 * number, 1_700_000_000 + 2.0 * number, dict(counts), Clients(20 * number, 3 * number)))
    return watch


def test_no_attack() -> None:
    document = attacks([], [])
    assert (document.text, document.data) == ("no attack\n", {"under_way": [], "ended": []})


def test_an_attack_under_way_and_one_that_is_over() -> None:
    watch = _watch(4)
    document = attacks(watch.under_way.values(), watch.ended)
    assert document.text == (
        "under attack: stray_flood (TCP packets to a service without a session, with wrong cookies, or out of nowhere)\n"
        "attack       began                 ended  lasted_s  dropped   now/s  peak/s  new sessions/s  before/s  dropped by\n"
        "stray_flood  2023-11-14T22:13:20Z  -           6.0    12000  2000.0  2000.0            10.0       0.0  "
        "no_session=12000\n"
    )
    (data,) = document.data["under_way"]
    assert (data["ended"], data["rules"], data["sessions"], data["proofs"]) == (None, {"no_session": 12000}, 60, 9)
    watch = _watch(20)
    document = attacks(watch.under_way.values(), watch.ended)
    assert document.text.splitlines()[0] == "no attack"
    assert document.data["ended"][0]["ended"] == "2023-11-14T22:13:26Z"
