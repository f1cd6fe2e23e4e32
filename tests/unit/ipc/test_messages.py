"""messages.py: what is written is what is read, however the bytes are cut; and what cannot be read is an error that says so."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.messages import (
    KINDS,
    VERSION,
    Ask,
    AwaitSettled,
    ChangeDrained,
    ChangeHealth,
    ChangeServices,
    ChangeSessionLog,
    Done,
    Ended,
    EndWalk,
    Forget,
    LineReader,
    Message,
    MessageError,
    More,
    Numbered,
    Piece,
    Refused,
    Start,
    decode,
    encode,
)
from appliance.ipc.plan import Plan, RealServerPlan, ServicePlan
from appliance.ipc.queries import ROWS, Query, SessionFilter
from tests.support.world import plan

RS = RealServerPlan("192.0.2.101", 8080, 100, 3, backup=True, max_conn=5)
WEB = ServicePlan("web", "203.0.113.10", 80, "rr", ("192.0.2.10",), (RS,), "tcp", "auto", 2, lane=False)
WEB = replace(
    WEB, when_none_healthy="drop", quorum=2, on_down="reset", max_conn=7, when_full="drop", max_conn_per_client=5, client_mask=24
)
WEB_JSON = (
    '{"name":"web","vip":"203.0.113.10","port":80,"scheduler":"rr","local_addresses":["192.0.2.10"],"real_servers":'
    '[{"address":"192.0.2.101","port":8080,"weight":100,"slot":3,"slow_start_s":0,"backup":true,"max_conn":5}],"protocol":"tcp","synproxy":"auto","synproxy_defer":2,"lane":false,'
    '"maglev_table":65537,"persistence_s":0,"persistence_mask":32,"when_none_healthy":"drop","quorum":2,"on_down":"reset","guarded":false,"max_conn":7,"when_full":"drop","max_conn_per_client":5,"client_mask":24}'
)

LINES: list[tuple[Message, str]] = [
    (
        Start(
            Plan(
                1,
                4,
                5,
                258,
                (WEB,),
                "5a",
                "c0",
                has_predecessor=True,
                down=(3, 8),
                drained=(8,),
                log_per_s=5,
                logged_services=("web",),
            )
        ),
        f'"start","number":7,"plan":{{"shard":1,"shards":4,"queue_num":5,"destinations":258,"services":[{WEB_JSON}],'
        '"isn_secret":"5a","cookie_secret":"c0","has_predecessor":true,"down":[3,8],"drained":[8],"log_per_s":5,"logged_services":["web"]}',
    ),
    (
        ChangeServices((WEB,), (("tcp", "203.0.113.10", 81),)),
        f'"change-services","number":7,"services":[{WEB_JSON}],"gone":[["tcp","203.0.113.10",81]]',
    ),
    (ChangeHealth((3, 8)), '"change-health","number":7,"down":[3,8]'),
    (Forget([["web", "192.0.2.101", 8080]]), '"forget","number":7,"real_servers":[["web","192.0.2.101",8080]]'),
    (AwaitSettled(), '"await-settled","number":7'),
    (
        Ask(Query(ROWS, SessionFilter(state="CLOSE"), limit=5, after="0-0-0-000000000000000000000000")),
        '"ask","number":7,"query":["rows",["","","","CLOSE"],"",5,"0-0-0-000000000000000000000000",[],0,0]',
    ),
    (More(3), '"more","number":7,"walk":3'),
    (EndWalk(3), '"end-walk","number":7,"walk":3'),
    (Done(6), '"done","number":7,"of":6'),
    (Piece(6, [["web", 2]], True, "0-0-0-00"), '"piece","number":7,"of":6,"items":[["web",2]],"is_last":true,"place":"0-0-0-00"'),
    (Refused(6, "why"), '"refused","number":7,"of":6,"reason":"why"'),
    (ChangeDrained((3, 8)), '"change-drained","number":7,"drained":[3,8]'),
    (ChangeSessionLog(5, ["web"]), '"change-session-log","number":7,"log_per_s":5,"logged_services":["web"]'),
    (Ended([["web", "tcp", 1, False]], 3), '"ended","number":7,"rows":[["web","tcp",1,false]],"left_out":3'),
]


@pytest.mark.parametrize(("message", "rest"), LINES, ids=[type(message).__name__ for message, _ in LINES])
def test_each_kind_is_written_like_this_and_read_again(message: Message, rest: str) -> None:
    """Another line is another VERSION."""
    assert VERSION == 10
    line = f'{{"version":10,"kind":{rest}}}\n'.encode()
    assert encode(7, message) == line
    assert decode(line) == Numbered(7, message)
    assert type(decode(line).message) is type(message)


def test_there_is_a_line_for_every_kind() -> None:
    assert {type(message) for message, _ in LINES} == set(KINDS.values())


def test_a_plan_survives_the_line() -> None:
    before = plan(weights=(100, 0), shard=1, shards=4)
    assert decode(encode(1, Start(before))).message == Start(before)


messages_st = st.lists(st.builds(Refused, st.integers(), st.text(max_size=8)) | st.builds(More, st.integers()), max_size=5)


@given(messages_st, st.data())
def test_messages_come_out_whole_however_they_are_cut(messages: list[Message], data: st.DataObject) -> None:
    stream = b"".join(encode(1, message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, found = LineReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += [decode(line).message for line in reader.feed(stream[start:end])]
    assert found == messages


@pytest.mark.parametrize("line", [b"", b"[]", b"1", b"nonsense", b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(MessageError, match="not a message"):
        decode(line)


def broken(message: Message, **changes: Any) -> bytes:
    """The line of a message with other fields; None takes one away."""
    fields = json.loads(encode(7, message)) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (broken(Done(6), kind="dance"), "unknown kind 'dance'"),
        (broken(Done(6), kind=None), "unknown kind ''"),
        (broken(Done(6), kind=[1]), "unknown kind ''"),
        (broken(Done(6), version=99), f"version 99, while this process has version {VERSION}"),
        (broken(Done(6), version=None), "version None"),
        (broken(Done(6), number=0), "without a number"),
        (broken(Done(6), number=None), "without a number"),
        (broken(Done(6), number=True), "without a number"),
        (broken(Done(6), of=None), "damaged message of kind 'done'"),
        (broken(Done(6), of="6"), "damaged message of kind 'done'"),
        (broken(Done(6), more=1), "damaged message of kind 'done'"),
        (broken(Ask(Query(ROWS)), query=[1, 2, 3, 4, 5, 6]), "damaged message of kind 'ask'"),
        (broken(Ask(Query(ROWS)), query=[ROWS, 5]), "damaged message of kind 'ask'"),
        (broken(ChangeServices((WEB,)), services=[{}]), "damaged message of kind 'change-services'"),
        (broken(ChangeServices((WEB,)), services=[5]), "damaged message of kind 'change-services'"),
        (broken(ChangeServices(()), gone=[["tcp", "203.0.113.10"]]), "damaged message of kind 'change-services'"),
        (broken(ChangeServices(()), gone=[["tcp", "203.0.113.10", "81"]]), "damaged message of kind 'change-services'"),
        (broken(Start(plan()), plan={}), "damaged message of kind 'start'"),
        (broken(Start(plan()), plan={"services": []}), "damaged message of kind 'start'"),
    ],
)
def test_a_message_that_cannot_be_taken_says_why(line: bytes, words: str) -> None:
    with pytest.raises(MessageError, match=words):
        decode(line)


def test_an_error_keeps_what_could_be_read() -> None:
    with pytest.raises(MessageError) as refused:
        decode(broken(Refused(6, "why"), version=99))
    assert (refused.value.number, refused.value.of, refused.value.is_refusal) == (7, 6, True)
    with pytest.raises(MessageError) as unknown:
        decode(b'{"version":%d,"kind":"dance","number":"7","of":[]}' % VERSION)
    assert (unknown.value.number, unknown.value.of, unknown.value.is_refusal) == (0, 0, False)
