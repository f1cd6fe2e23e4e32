"""config/saving.py: a file gets what was changed meanwhile, and keeps everything else as it was written."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.edits import edited
from appliance.config.loading import Config, ConfigError, parse
from appliance.config.saving import saved
from appliance.model.edit import MERGE, POOL, REAL_SERVER, REMOVE, REPLACE, SERVICE, ChangeRefusedError, Edit, Subject
from tests.support.api_changes import SHIPPED

TEXT = """\
# first line
[gateway]  # the host
client_interface = "c"   # left
server_interface = "s"

[sysctl]
udp_timeout = 5_000 # five seconds

[local_addresses]
default = [ "192.0.2.10",  # one
            "192.0.2.11" ]
spare = ["192.0.2.12"]

# the web
[[service]]
name = "web"
vip = "203.0.113.10"
port = 80  # plain
scheduler = "rr" # in turn
[service.health_check]
type = "tcp"
# old machine
[[service.real_server]]
address = "192.0.2.101"
port = 8080
weight = 100 # big

# new machine
[[service.real_server]]
address = "192.0.2.102"
port = 8080

# mail
[[service]]
name = "mail"
vip = "203.0.113.10"
port = 25
# the end
"""
FILE = parse(TEXT, "lvs.toml")
WEB, MAIL, NEW = (Subject(SERVICE, name) for name in ("web", "mail", "new"))
RS1, RS2 = (Subject(REAL_SERVER, "web", f"192.0.2.10{number}:8080") for number in (1, 2))
SPARE = Subject(POOL, "spare")


def after(*edits: Edit, text: str = TEXT, **tunables: int) -> str:
    """The saved file; what it says is what is in force."""
    before = running = parse(text, "lvs.toml")
    for edit in edits:
        running = edited(running, edit)
    running = running.model_copy(update={"sysctl": running.sysctl | tunables})
    new = saved(text, before, running)
    assert parse(new, "lvs.toml") == running
    return new


def lines_changed(new: str) -> tuple[list[str], list[str]]:
    old, now = TEXT.splitlines(), new.splitlines()
    return [line for line in old if line not in now], [line for line in now if line not in old]


def test_nothing_changed_is_the_same_text() -> None:
    assert after() == TEXT
    assert after(text=SHIPPED) == SHIPPED


def test_a_value_changes_in_its_place_and_keeps_its_comment() -> None:
    assert lines_changed(after(Edit(MERGE, RS1, {"weight": 5}))) == (["weight = 100 # big"], ["weight = 5 # big"])
    assert lines_changed(after(Edit(MERGE, WEB, {"scheduler": "wlc"}))) == (
        ['scheduler = "rr" # in turn'],
        ['scheduler = "wlc" # in turn'],
    )
    assert lines_changed(after(udp_timeout=7000)) == (
        ["udp_timeout = 5_000 # five seconds"],
        ["udp_timeout = 7000 # five seconds"],
    )


def test_a_key_that_is_new_stands_with_the_other_keys() -> None:
    new = after(Edit(MERGE, WEB, {"quorum": 2, "health_check": {"rise": 4}}))
    assert lines_changed(new) == ([], ["quorum = 2", "rise = 4"])
    assert new.index("quorum") < new.index("[service.health_check]")


@pytest.mark.parametrize(
    ("subject", "goes", "stays"),
    [
        (RS1, ['address = "192.0.2.101"', "weight = 100 # big"], "# new machine\n[[service.real_server]]"),
        (RS2, ['address = "192.0.2.102"'], "# mail\n[[service]]"),
        (WEB, ['name = "web"', "port = 80  # plain"], "# mail\n[[service]]"),
        (MAIL, ['name = "mail"', "port = 25"], "# the end\n"),
    ],
)
def test_what_is_removed_leaves_the_comments_of_what_follows(subject: Subject, goes: list[str], stays: str) -> None:
    new = after(Edit(REMOVE, subject))
    assert set(goes) <= set(lines_changed(new)[0])
    assert lines_changed(new)[1] == []
    assert stays in new


def test_the_last_real_server_can_go_and_come_back() -> None:
    without = after(Edit(REMOVE, RS1), Edit(REMOVE, RS2))
    assert "real_server]]" not in without
    assert "# mail\n[[service]]" in without
    assert "weight = 3" in after(Edit(REPLACE, RS1, {"weight": 3}), text=without)


def test_what_is_added_comes_last() -> None:
    new = after(
        Edit(REPLACE, NEW, {"vip": "203.0.113.11", "port": 80, "real_server": [{"address": "192.0.2.9", "port": 1}]}),
        Edit(REPLACE, Subject(POOL, "more"), {"addresses": ["192.0.2.13"]}),
        Edit(REPLACE, Subject(REAL_SERVER, "mail", "192.0.2.103:25"), {"health_check": {"type": "tcp"}}),
    )
    assert lines_changed(new)[0] == []
    assert new.index("# the end") < new.index('name = "new"')


def test_a_pool_keeps_its_place() -> None:
    removed, added = lines_changed(after(Edit(REPLACE, SPARE, {"addresses": ["192.0.2.40", "192.0.2.41"]})))
    assert (removed, added) == (['spare = ["192.0.2.12"]'], ['spare = ["192.0.2.40", "192.0.2.41"]'])
    assert lines_changed(after(Edit(REMOVE, SPARE)))[0] == ['spare = ["192.0.2.12"]']


def test_another_order_is_written_too() -> None:
    servers = [{"address": f"192.0.2.10{number}", "port": 8080} for number in (3, 2, 1)]
    after(Edit(MERGE, WEB, {"real_server": servers}))


def test_a_table_that_the_file_lacks_is_made() -> None:
    text = TEXT.replace("[sysctl]\nudp_timeout = 5_000 # five seconds\n", "")
    assert "[sysctl]\nudp_timeout = 7000\n" in after(text=text, udp_timeout=7000)


def test_carriage_returns_and_the_shipped_file() -> None:
    assert "weight = 5\r\n" in after(Edit(MERGE, RS1, {"weight": 5}), text=TEXT.replace(" # big", "").replace("\n", "\r\n"))
    after(Edit(REMOVE, RS1), text=SHIPPED, udp_timeout=7000)


def test_inline_tables_are_refused() -> None:
    text = TEXT[: TEXT.index("# the web")] + 'service = [{name = "web", vip = "203.0.113.10", port = 80}]\n'
    text = text[text.index("service = ") :] + text[: text.index("service = ")]
    with pytest.raises(ValueError, match=r"not written as \[\[service\]\]"):
        after(Edit(MERGE, WEB, {"scheduler": "wlc"}), text=text)


EDITS = st.lists(
    st.builds(
        Edit,
        st.sampled_from([MERGE, REMOVE, REPLACE]),
        st.sampled_from([WEB, MAIL, NEW, RS1, RS2, SPARE, Subject(REAL_SERVER, "mail", "192.0.2.104:25")]),
        st.sampled_from(
            [
                {"weight": 7},
                {"backup": True, "health_check": {"type": "http", "path": '/"#\\'}},
                {"vip": "203.0.113.12", "port": 443, "quorum": 3},
                {"health_check": None},
                {"health_check": {"type": "udp", "send": "x # y"}},
                {"addresses": ["192.0.2.50"]},
            ]
        ),
    ),
    max_size=6,
)


@given(edits=EDITS, text=st.sampled_from([TEXT, SHIPPED]))
def test_whatever_changes_the_saved_file_says_it(edits: list[Edit], text: str) -> None:
    before = running = parse(text, "lvs.toml")
    for edit in edits:
        running = _after(running, edit)
    new = saved(text, before, running)
    assert parse(new, "lvs.toml") == running
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    if running.services[: len(before.services)] == before.services:
        assert [line for line in new.splitlines() if line.startswith("# ")] == comments


def _after(running: Config, edit: Edit) -> Config:
    try:
        value: Any = None if edit.action == REMOVE else edit.value
        return edited(running, edit._replace(value=value))
    except (ChangeRefusedError, ConfigError):
        return running


LOG = '\n[session_log]\ntarget = "journal"  # for a day\nmax_per_s = 7\n'


def test_the_session_log_is_saved_where_it_stands_or_behind_all_else() -> None:
    in_file = parse(TEXT, "lvs.toml")
    running = parse(TEXT + LOG, "lvs.toml")
    assert parse(saved(TEXT, in_file, running), "lvs.toml") == running
    back = saved(TEXT + LOG, running, parse(TEXT + LOG.replace("7", "8"), "lvs.toml"))
    assert back == TEXT + LOG.replace("7", "8")
    gone = saved(TEXT + LOG, running, in_file)
    assert parse(gone, "lvs.toml").session_log == in_file.session_log
