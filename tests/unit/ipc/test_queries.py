"""conn_query.py: what can be asked about sessions, and what is said to those who ask wrongly."""

import json
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.queries import (
    CLIENTS_MAX,
    CUT,
    GROUPS,
    ROWS,
    TALLY,
    EndpointMatch,
    Place,
    Query,
    QueryError,
    SessionFilter,
    check_fields,
    check_query,
    parse_place,
    query_from_json,
    read_filter,
    read_group,
    read_number,
)
from appliance.wire.flow import pack_endpoint

SERVICES = ("web", "mail")


def test_a_filter_takes_its_own_fields_and_tidies_them() -> None:
    given_ = {"client": " 198.51.100.2:40000 ", "state": "time_wait", "service": "web", "limit": "7"}
    assert read_filter(given_, SERVICES) == SessionFilter("198.51.100.2:40000", "web", "", "TIME_WAIT")
    assert not any(read_filter({}, SERVICES))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("client", " ", "client: is empty"),
        ("state", "", "state: is empty"),
        ("client", "198.51.100", "client: '198.51.100' is no IPv4 endpoint (allowed: ADDRESS, ADDRESS:PORT, NETWORK/BITS)"),
        ("client", "198.51.100.2:0", "is no IPv4 endpoint"),
        ("client", "198.51.100.2:65536", "is no IPv4 endpoint"),
        ("client", "198.51.100.2:", "is no IPv4 endpoint"),
        ("client", "198.51.100.2:٣", "is no IPv4 endpoint"),
        ("client", "198.51.100.2/24", "is no IPv4 endpoint"),
        ("client", "198.51.100.0/33", "is no IPv4 endpoint"),
        ("client", "198.51.100.0/24:80", "is no IPv4 endpoint"),
        ("real_server", "2001:db8::1", "real_server: '2001:db8::1' is no IPv4 endpoint"),
        ("service", "wep", "service: there is no 'wep' (there are web, mail); the nearest is web"),
        ("state", "ESTABLISED", "the nearest is ESTABLISHED"),
        ("state", "q" * 200, "Q" * 80 + "' (there are NONE"),
    ],
)
def test_what_cannot_be_meant_is_named_with_what_could_be(field: str, value: str, words: str) -> None:
    with pytest.raises(QueryError) as refusal:
        read_filter({field: value}, SERVICES)
    assert words in str(refusal.value)


@pytest.mark.parametrize("text", ["0", "-1", "11", "1.5", "", "٣", "1" * 5000])
def test_a_number_out_of_range_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(QueryError, match=r"n: .* is out of range 1\.\.10"):
        read_number({"n": text}, "n", 3, 10)


def test_numbers_and_groups_have_defaults() -> None:
    assert read_number({}, "n", 3, 10) == 3
    assert read_number({"n": " 10 "}, "n", 3, 10) == 10
    assert read_group({}) == "client"
    with pytest.raises(QueryError, match="by: there is no 'clients'"):
        read_group({"by": "clients"})
    with pytest.raises(QueryError, match=r"by: there is no '' \(there are client, service, real_server\)$"):
        read_group({"by": ""})


def test_a_field_that_nobody_reads_is_refused() -> None:
    """Or a slip in the name of a filter would cut every session."""
    check_fields(("client", "format"), ("client", "format"))
    with pytest.raises(QueryError, match=r"field: there is no 'clinet' .*the nearest is client"):
        check_fields(("clinet",), ("client", "format"))


def test_a_field_that_is_given_twice_is_refused() -> None:
    """Or `client=A&client=B` would cut the sessions of one of them."""
    with pytest.raises(QueryError, match=r"^client: it is given more than once$"):
        check_fields(("client", "format", "client"), ("client", "format"))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query("rowss"), "kind: there is no 'rowss'"),
        (Query(TALLY), "by: there is no ''"),
        (Query(TALLY, by="clients"), "by: there is no 'clients'"),
        (Query(ROWS, by="x"), "by: there is no 'x'"),
        (Query(ROWS, limit=-1), "limit: -1 is out of range"),
        (Query(ROWS, limit=10_001), "limit: 10001 is out of range"),
        (Query(ROWS, after="0-0-0"), "after: '0-0-0' is no place"),
        (Query(ROWS, SessionFilter(state="ESTABLISED")), "state: there is no"),
        (Query(ROWS, SessionFilter(client="x")), "client: 'x' is no IPv4 endpoint"),
        (Query(ROWS, SessionFilter(real_server="1.2.3.4:0")), "real_server: '1.2.3.4:0' is no IPv4 endpoint"),
    ],
)
def test_a_worker_reads_no_query_that_was_not_checked(query: Query, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        query_from_json(json.loads(json.dumps(query)))


@pytest.mark.parametrize("written", [["rows", [1, "", "", ""], "", 0, ""], ["rows", ["", "", "", ""], "", True, ""]])
def test_a_query_with_fields_of_wrong_types_is_refused(written: list[object]) -> None:
    with pytest.raises(QueryError, match="wrong types"):
        query_from_json(written)


@pytest.mark.parametrize("by", GROUPS)
def test_a_checked_query_is_read_as_it_was_written(by: str) -> None:
    query = Query(TALLY, SessionFilter("192.0.2.0/24", "web", "192.0.2.1:80", "ESTABLISHED"), by)
    assert query_from_json(json.loads(json.dumps(query))) == query


def test_a_query_names_clients_only_to_cut_them_and_not_too_many() -> None:
    query = Query(CUT, SessionFilter(service="web"), clients=("192.0.2.1",) * CLIENTS_MAX)
    assert query_from_json(json.loads(json.dumps(query))) == query
    for wrong, why in (
        (query._replace(clients=(*query.clients, "192.0.2.1")), "at most 1000"),
        (Query(ROWS, clients=("192.0.2.1",)), "only a query of the kind cut"),
        (query._replace(clients=("192.0.2.0/24",)), "clients: "),
        (query._replace(clients=(5,)), "an address is text"),  # type: ignore[arg-type]
    ):
        with pytest.raises(QueryError, match=why):
            check_query(wrong)


addresses_st = st.integers(0, 2**32 - 1).map(IPv4Address)


@given(addresses_st, addresses_st, st.integers(0, 32))
def test_a_network_matches_what_the_standard_library_says_is_in_it(address: IPv4Address, other: IPv4Address, bits: int) -> None:
    network = IPv4Network((other, bits), strict=False)
    assert EndpointMatch(str(network))(pack_endpoint(address, 80)) == (address in network)
    assert EndpointMatch(str(network))(pack_endpoint(other, 1))


@given(addresses_st, addresses_st, st.integers(1, 65535), st.integers(1, 65535))
def test_an_address_matches_itself_with_any_port_or_just_the_one(
    address: IPv4Address, other: IPv4Address, port: int, other_port: int
) -> None:
    assert EndpointMatch(str(address))(pack_endpoint(other, port)) == (address == other)
    assert EndpointMatch(f"{address}:{port}")(pack_endpoint(address, other_port)) == (port == other_port)


@given(st.integers(0, 63), st.integers(0, 1), st.integers(0, 511), st.binary(min_size=12, max_size=12))
def test_a_place_is_read_back_as_it_was_written(shard: int, table: int, bucket: int, key: bytes) -> None:
    place = Place(shard, table, bucket, key)
    assert parse_place(str(place)) == place


@given(st.text())
def test_any_other_text_is_no_place(text: str) -> None:
    with pytest.raises(QueryError, match="after: "):
        parse_place(text)
