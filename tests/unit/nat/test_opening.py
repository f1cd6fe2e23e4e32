"""Packets of a session that is opening, and packets with options: LVS behaviour 3.3 to 3.7, and rows 1, 2, 5 of section 12."""

import pytest

from appliance.model import verdicts
from appliance.nat import opening
from appliance.nat.toa import client_option
from tests.support.addresses import C0, CLIENT, LIP1, R0, RS1, RS2, VIP
from tests.support.segments import Seen, options_of, read_tcp, tcp
from tests.support.tcp_options import LINUX_SYN, MSS_1460, SACK_PERMITTED, TIMESTAMP, WSCALE_7, sack
from tests.support.world import World, plan

NO_TIMESTAMP = MSS_1460 + SACK_PERMITTED + b"\x01" * 11 + WSCALE_7

TOA = bytes.fromhex("fe089c40c6336402")
"""Kind 254, length 8, port 40000, 198.51.100.2."""

FORGED = bytes.fromhex("fe080001cb007101")


def opens(world: World, options: bytes = b"") -> Seen:
    world.client.sends("S", seq=C0, options=options)
    return world.rs.gets("S", seq=C0)


def test_a_syn_shows_the_real_server_the_client_a_number_of_our_own_and_no_timestamp() -> None:
    """Row 1: the option comes first, ten NOPs stand for the timestamp, all else is untouched."""
    world = World()
    seen = opens(world, options=LINUX_SYN)
    assert options_of(seen) == TOA + NO_TIMESTAMP
    assert world.rs.isn != C0
    assert seen.ttl == 64
    assert world.counter("fullnat_add_toa_ok") == 1


def test_the_syn_that_the_real_server_gets_byte_for_byte() -> None:
    """Row 1."""
    world = World()
    world.client.sends("S", seq=C0, options=LINUX_SYN)
    raw = world.take(RS1)
    isn = int.from_bytes(raw[24:28], "big")
    local = raw[12:16] + raw[20:22]
    assert raw == tcp(local, RS1, "S", seq=isn, options=TOA + NO_TIMESTAMP)


def test_the_option_is_on_every_packet_until_the_real_servers_first_byte_is_acknowledged() -> None:
    world = World()
    world.client.connects(C0, R0)
    for data, flags in ((b"GET ", "PA"), (b"/ HTTP/1.0", "PA"), (b"\r\n\r\n", "FPA")):
        world.client.sends(flags, seq=C0 + 1, ack=R0 + 1, data=data)
        assert options_of(world.rs.gets(flags, data=data)) == TOA, (
            "an upload before any answer, and a FIN with data, carry it too"
        )
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 5, data=b"answer")
    world.client.gets("PA", data=b"answer", ack=C0 + 5)
    world.client.sends("A", seq=C0 + 5, ack=R0 + 7)
    assert options_of(world.rs.gets("A")) == b""
    world.client.sends("PA", seq=C0 + 5, ack=R0 + 1, data=b"late")
    assert options_of(world.rs.gets("PA")) == b"", "the answer was acknowledged once: it stays so"
    assert world.counter("fullnat_add_toa_ok") == 5


def test_an_upload_carries_the_option_until_the_real_server_has_acknowledged_a_byte_of_it() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"one")
    assert options_of(world.rs.gets("PA")) == TOA
    world.rs.sends("A", seq=R0 + 1, ack=C0 + 1)
    world.client.gets("A")
    world.client.sends("PA", seq=C0 + 4, ack=R0 + 1, data=b"two")
    assert options_of(world.rs.gets("PA")) == TOA, "nothing but the SYN was acknowledged"
    world.rs.sends("A", seq=R0 + 1, ack=C0 + 4)
    world.client.gets("A")
    world.client.sends("PA", seq=C0 + 7, ack=R0 + 1, data=b"three")
    assert options_of(world.rs.gets("PA")) == b""


@pytest.mark.parametrize(("flags", "ack"), [("A", 400), ("A", -400), ("RA", 4), ("SA", 4)])
def test_the_option_stays_while_no_byte_that_was_sent_is_acknowledged(flags: str, ack: int) -> None:
    """A number that is none of the client's, a reset, or the answer to a SYN that is repeated."""
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"one")
    assert options_of(world.rs.gets("PA")) == TOA
    world.rs.sends(flags, seq=R0 + 9, ack=C0 + ack)
    world.client.sends("PA", seq=C0 + 4, ack=R0 + 1, data=b"two")
    assert options_of(world.rs.gets("PA")) == TOA


def test_a_reset_carries_no_option() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("R", seq=C0 + 1)
    assert options_of(world.rs.gets("R")) == b""


def test_the_option_is_on_no_packet_while_switched_off_and_on_the_next_when_switched_on() -> None:
    world = World(fullnat_toa_entry=0)
    assert options_of(opens(world, options=LINUX_SYN)) == NO_TIMESTAMP
    world.shared.set_tunables({"fullnat_toa_entry": 1})
    world.client.sends("S", seq=C0, options=LINUX_SYN)
    assert options_of(world.rs.gets("S")) == TOA + NO_TIMESTAMP
    assert world.counter("fullnat_add_toa_ok") == 1


def test_the_kind_of_the_option_is_a_tunable() -> None:
    world = World(fullnat_toa_kind=200)
    assert options_of(opens(world)) == b"\xc8" + TOA[1:]


@pytest.mark.parametrize("toa", [0, 1])
@pytest.mark.parametrize("flags", ["S", "PA"])
def test_an_option_that_the_client_sends_itself_is_neutralised(toa: int, flags: str) -> None:
    """This holds wherever the option is, with the tunable on or off, early and late in a session."""
    world = World(fullnat_toa_entry=toa)
    if flags == "S":
        seen = opens(world, options=MSS_1460 + FORGED)
        assert options_of(seen) == (TOA if toa else b"") + MSS_1460 + b"\x01" * 8
        return
    world.client.connects(C0, R0)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1, data=b"hello")
    world.client.gets("PA")
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 6, data=b"x", options=FORGED + FORGED)
    assert options_of(world.rs.gets("PA", data=b"x")) == b"\x01" * 16


def test_a_timestamp_stays_when_its_removal_is_off() -> None:
    world = World(fullnat_timestamp_remove_entry=0)
    assert options_of(opens(world, options=LINUX_SYN)) == TOA + LINUX_SYN


def test_later_timestamps_are_never_touched() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x", options=b"\x01\x01" + TIMESTAMP)
    assert options_of(world.rs.gets("PA")) == TOA + b"\x01\x01" + TIMESTAMP
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 2, data=b"y", options=b"\x01\x01" + TIMESTAMP)
    assert options_of(world.client.gets("PA", ack=C0 + 2)) == b"\x01\x01" + TIMESTAMP


def test_room_for_the_option_is_made_by_dropping_nops() -> None:
    world = World()
    crowded = MSS_1460 + SACK_PERMITTED + b"\x01" * 30 + b"\x03\x03\x07\x00"
    assert len(crowded) == 40
    assert options_of(opens(world, options=crowded)) == TOA + MSS_1460 + SACK_PERMITTED + WSCALE_7 + b"\0" * 3
    assert world.counter("fullnat_add_toa_ok") == 1


def test_without_any_room_the_packet_goes_without_and_is_counted() -> None:
    world = World()
    full = MSS_1460 + b"\x22\x24" + bytes(34)
    assert options_of(opens(world, options=full)) == full
    assert (world.counter("fullnat_add_toa_ok"), world.counter("fullnat_add_toa_fail_len")) == (0, 1)


@pytest.mark.parametrize(("payload_bytes", "added"), [(1452, True), (1453, False)])
def test_the_option_is_not_on_a_packet_that_would_exceed_the_mtu_of_the_route(payload_bytes: int, added: bool) -> None:
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1, data=bytes(payload_bytes))
    seen = world.rs.gets("A")
    assert options_of(seen) == (TOA if added else b"")
    assert len(seen.raw) == (1500 if added else 1493)
    assert world.counter("fullnat_add_toa_fail_len") == (not added)


def test_a_smaller_mtu_counts_from_the_next_packet_on() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.shared.set_mtus({0: 1280})
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1, data=bytes(1240))
    assert options_of(world.rs.gets("A")) == b""


def test_no_memory_for_the_option_is_counted_and_the_packet_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(opening, "put_first", fail)
    world = World()
    assert options_of(opens(world, options=MSS_1460)) == MSS_1460
    assert world.counter("fullnat_add_toa_fail_mem") == 1


def test_an_address_of_another_family_has_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client_option(254, bytes(18)) is None
    assert client_option(254, CLIENT) == TOA
    monkeypatch.setattr(opening, "source_of", lambda _: bytes(18))
    world = World()
    assert options_of(opens(world)) == b""
    assert world.counter("fullnat_add_toa_fail_proto") == 1


@pytest.mark.parametrize(
    ("mtu", "mss", "shown"),
    [(0, 1460, 1452), (1500, 1460, 1452), (1280, 1460, 1232), (1500, 536, 528), (1500, 90, 88), (1500, 60, 60)],
)
def test_the_mss_leaves_room_for_the_option_on_the_route_but_has_a_floor(mtu: int, mss: int, shown: int) -> None:
    """Row 2, with its REC."""
    world = World()
    world.shared.set_mtus({0: mtu})
    opens(world, options=LINUX_SYN)
    world.rs.sends("SA", seq=R0, ack=C0 + 1, options=b"\x02\x04" + mss.to_bytes(2, "big") + WSCALE_7 + b"\x01")
    seen = world.client.gets("SA", seq=R0, ack=C0 + 1)
    assert options_of(seen) == b"\x02\x04" + shown.to_bytes(2, "big") + WSCALE_7 + b"\x01"


def test_the_mss_stays_when_its_adjustment_is_off_and_none_stays_none() -> None:
    world = World(fullnat_mss_adjust_entry=0)
    opens(world)
    world.rs.sends("SA", seq=R0, ack=C0 + 1, options=MSS_1460)
    assert options_of(world.client.gets("SA")) == MSS_1460
    world = World()
    opens(world)
    world.rs.sends("SA", seq=R0, ack=C0 + 1, options=WSCALE_7 + b"\x01")
    assert options_of(world.client.gets("SA")) == WSCALE_7 + b"\x01"


def test_the_clients_own_mss_is_not_touched() -> None:
    world = World()
    assert MSS_1460 in options_of(opens(world, options=MSS_1460))


def test_the_real_servers_sack_blocks_are_shown_in_the_clients_numbers() -> None:
    world = World()
    world.client.connects(C0, R0)
    shown = [(edge + world.rs.shift) % 2**32 for edge in (C0 + 1001, C0 + 2001)]
    world.rs.sends("A", seq=R0 + 1, ack=C0 + 1, options=b"\x01\x01" + sack(*shown))
    assert options_of(world.client.gets("A", ack=C0 + 1)) == b"\x01\x01" + sack(C0 + 1001, C0 + 2001)


def test_the_clients_sack_blocks_are_the_real_servers_own_numbers_already() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1, options=b"\x01\x01" + sack(R0 + 1001, R0 + 2001))
    assert options_of(world.rs.gets("A")) == TOA + b"\x01\x01" + sack(R0 + 1001, R0 + 2001)


def test_an_acknowledgement_number_without_its_flag_is_left_alone() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.rs.sends("R", seq=R0 + 1, ack=0)
    world.client.gets("R", seq=R0 + 1, ack=0)


def test_a_damaged_packet_stays_damaged() -> None:
    """Neither the option nor the shift of numbers gives a damaged packet right checksums."""
    world = World()
    opens(world, options=LINUX_SYN)
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    whole = tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=R0 + 1, options=TIMESTAMP)
    world.put(whole[:-1] + b"\x55")
    raw = world.take(RS1)
    assert raw[40:48] == TOA
    with pytest.raises(AssertionError, match="TCP checksum"):
        read_tcp(raw)


def test_a_repeated_syn_is_the_same_syn_for_the_real_server() -> None:
    """Row 4: the identical number, and no counter of reuse."""
    world = World()
    first = opens(world, options=LINUX_SYN)
    world.client.sends("S", seq=C0, options=LINUX_SYN)
    assert world.rs.gets("S").raw == first.raw
    assert world.counter("fullnat_conn_reused") == 0


def test_ports_run_out_with_the_right_error_and_another_real_server_still_has_them() -> None:
    """Row 5: two ports, three connections to one real server."""
    world = World(plan(weights=(1, 0), local_addresses=(str(LIP1),)), fullnat_lport_min=5000, fullnat_lport_max=5001)
    clients = [CLIENT[:4] + port.to_bytes(2, "big") for port in range(40000, 40004)]
    for client in clients[:2]:
        assert world.put(tcp(client, VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
        world.take(RS1)
    assert world.put(tcp(clients[2], VIP, "S", seq=C0)) is verdicts.LOCAL_PORTS_EXHAUSTED
    refusal = world.take(CLIENT)
    assert (refusal[9], refusal[20:22]) == (1, b"\x03\x03")
    world.change(plan(weights=(0, 1), local_addresses=(str(LIP1),)))
    assert world.put(tcp(clients[3], VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
    assert world.take(RS2)[20:22] in (b"\x13\x88", b"\x13\x89")
