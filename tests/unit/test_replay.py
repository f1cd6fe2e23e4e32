"""replay.py: the command, from files to lines and exit codes."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.__main__ import main
from appliance.config.in_force import tables_of
from appliance.config.loading import load
from appliance.ipc.in_force import MARK, as_remark
from appliance.replay import DIFFERENT
from appliance.wire.pcapng import file_head, packet_block, remark_block
from tests.support.addresses import CLIENT, VIP
from tests.support.segments import tcp

CONFIG = str(Path(__file__).parents[2] / "etc" / "lvs.toml")
ACK = tcp(CLIENT, VIP, "A", seq=1, ack=2)
HEAD = file_head(("in", "out"), 3840)
SAME = "drop no_session (first packet)"


SYNS = [tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "S") for port in range(4)]
LOADED = load(CONFIG)
IN_FORCE = tables_of(LOADED, {**LOADED.sysctl, "conn_early_drop": 0}) | {"gateway": {"shards": 1}, "down": [], "drained": []}


def block(comment: str, raw: bytes = ACK) -> bytes:
    return packet_block(0, 1_800_000_000.25, raw, len(raw), comment, is_outgoing=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.pcapng"


def replays(file: Path) -> int:
    return main(["replay", str(file), "--config", CONFIG])


def test_each_packet_is_a_line_and_differences_are_shown(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(HEAD + block(SAME) + block("drop bad_cookie (synproxy)") + block("drop denied_drops (kernel rules)"))
    assert replays(file) == DIFFERENT
    out, err = capsys.readouterr()
    shown = "198.51.100.2:40000 > 203.0.113.10:80 [.] seq 1 ack 2 win 64240 len 0"
    assert out == (
        f"08:00:00.250000 {SAME}: {shown}\n"
        f"08:00:00.250000 {SAME}: {shown}   # the file says: drop bad_cookie (synproxy)\n"
        f"08:00:00.250000 not replayed (a rule of the kernel dropped it): {shown}\n"
    )
    assert err == "2 packets replayed, 1 not replayed, 1 with another verdict than in the file\n"


def remark(what: Mapping[str, object]) -> bytes:
    return remark_block(1_800_000_000.0, as_remark(what))


def verdicts(file: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The first word of each verdict."""
    assert main(["replay", str(file), *options]) == 0
    return [line.split(" ")[1] for line in capsys.readouterr().out.splitlines()]


def syn(number: int) -> bytes:
    return block("", SYNS[number])


ENDED = {"ended": {"client": "", "service": "", "real_server": "", "state": "", "clients": []}}
LIMITED = (
    HEAD + remark(IN_FORCE) + syn(0) + remark({"sysctl": IN_FORCE["sysctl"] | {"conn_max": 1}}) + syn(1) + remark(ENDED) + syn(2)
)


def test_what_the_file_says_to_be_in_force_counts_from_there_on(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit that is put in force between two packets, and sessions that were ended behind that."""
    file.write_bytes(LIMITED)
    assert verdicts(file, capsys) == ["rewritten", "drop", "rewritten"]
    down = [["web", str(server.address), server.port] for server in LOADED.services[0].real_servers]
    file.write_bytes(HEAD + remark(IN_FORCE) + remark({"down": down}) + syn(0) + remark({"down": []}) + syn(1))
    assert verdicts(file, capsys) == ["drop", "rewritten"]


def test_the_command_line_counts_more_than_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(LIMITED)
    assert verdicts(file, capsys, "--set", "conn_max=5000") == ["rewritten"] * 3
    assert verdicts(file, capsys, "--config", CONFIG) == ["rewritten"] * 3
    limited = ("--set", "conn_max=1", "--set", "conn_early_drop=0")
    assert verdicts(file, capsys, "--config", CONFIG, *limited) == ["rewritten", "drop", "rewritten"]


@pytest.mark.parametrize("options", [(), ("--config", CONFIG)])
@pytest.mark.parametrize(("shards", "reason"), [(1, "unseen_answer"), (2, "no_session")])
def test_there_are_as_many_shards_as_the_file_says_also_with_another_configuration(
    file: Path, capsys: pytest.CaptureFixture[str], shards: int, reason: str, options: tuple[str, ...]
) -> None:
    """A session is known in the shard that had its first packet."""

    def by(queue: int, raw: bytes) -> bytes:
        return packet_block(0, 1_800_000_000.25, raw, 40, "", is_outgoing=False, queue=queue)

    syn, ack = tcp(CLIENT, VIP, "S", seq=7), tcp(CLIENT, VIP, "A", seq=8, ack=9)
    in_force = IN_FORCE | {"gateway": {"shards": shards}, "sysctl": LOADED.sysctl}
    file.write_bytes(HEAD + remark(in_force) + by(1, syn) + by(0, ack))
    assert main(["replay", str(file), *options]) == 0
    assert capsys.readouterr().out.splitlines()[1].split(" ")[2] == reason


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("conn_max", "--set 'conn_max' is not NAME=VALUE, with a number"),
        ("conn_max=-1", "--set 'conn_max=-1' is not NAME=VALUE, with a number"),
        ("conn_max=99999999", "--set: conn_max: 99999999 is out of range"),
        ("conn_maxx=5", "--set: "),
    ],
)
def test_a_value_that_cannot_be_is_refused(file: Path, capsys: pytest.CaptureFixture[str], setting: str, words: str) -> None:
    file.write_bytes(HEAD)
    assert main(["replay", str(file), "--set", setting]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("remarks", "words"),
    [
        (remark_block(1.0, "appliance in force 2: {}"), "what the file says to be in force: it is of another version"),
        (remark_block(1.0, MARK + "{"), "it is not JSON"),
        (remark({"service": []}), "gateway is missing"),
        (remark(IN_FORCE | {"sysctl": {"conn_max": -1}}), "what the file says to be in force: sysctl.conn_max: -1"),
        (remark(IN_FORCE) + remark({"gateway": {"shards": 2}}), "the number of shards changes from 1 to 2"),
        (remark(IN_FORCE) + remark({"ended": []}), "what says which sessions were ended has other fields"),
        (remark(IN_FORCE) + remark({"ended": {"clients": ["x"]}}), "clients: "),
        (remark(IN_FORCE) + remark({"ended": {"clients": [], "client": "x"}}), "client: 'x' is no IPv4 endpoint"),
    ],
)
def test_what_cannot_be_in_force_is_a_clear_error(
    file: Path, capsys: pytest.CaptureFixture[str], remarks: bytes, words: str
) -> None:
    file.write_bytes(HEAD + remarks)
    assert main(["replay", str(file)]) == 1
    assert words in capsys.readouterr().err


def test_how_often_a_file_changes_what_is_in_force_is_bounded(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.replay.CHANGES_MAX", 3)
    file.write_bytes(HEAD + remark(IN_FORCE) + 2 * remark({"down": []}))
    assert main(["replay", str(file)]) == 0
    file.write_bytes(HEAD + remark(IN_FORCE) + 3 * remark({"down": []}))
    assert main(["replay", str(file)]) == 1
    assert "what the file says to be in force: it changes more than 3 times" in capsys.readouterr().err


KEYS = st.sampled_from([*IN_FORCE, "ended"])
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["shards", "clients", "client"]), inner),
    max_leaves=6,
)


@settings(max_examples=30)
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=2), max_size=3), st.booleans())
def test_any_remarks_are_gone_by_or_refused(whats: list[dict[str, object]], is_first: bool) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "c.pcapng"
        file.write_bytes(HEAD + (remark(IN_FORCE) if is_first else b"") + b"".join(map(remark, whats)))
        assert main(["replay", str(file)]) in (0, 1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"garbage", "it is neither pcapng nor pcap"),
        (HEAD + block(SAME)[:-3], "block 4: it ends in the middle of a block"),
    ],
)
def test_a_file_that_is_no_capture_is_a_clear_error(
    file: Path, capsys: pytest.CaptureFixture[str], data: bytes, words: str
) -> None:
    file.write_bytes(data)
    assert replays(file) == 1
    assert f"appliance: {file}: {words}" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_clear_error(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replays(file) == 1
    assert f"appliance: {file}: No such file or directory\n" in capsys.readouterr().err
