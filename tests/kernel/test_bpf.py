"""bpf.py: programs and maps of the kernel, as far as a program without packets shows them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.edge import bpf
from appliance.edge.bpf import Loaded
from appliance.edge.errors import EdgeError

SIZES = {"sessions": 4096, "flows": 100, "changed": 1, "real_servers": 3, "traffic": 6}


@pytest.fixture(scope="module")
def loaded_once(lane_object: Path) -> Iterator[Loaded]:
    with bpf.load(lane_object, SIZES) as program_and_maps:
        yield program_and_maps


@pytest.fixture
def loaded(loaded_once: Loaded) -> Loaded:
    """The program, with nothing in the maps that tests write to. To load it takes seconds, and a minute where all is emulated."""
    loaded_once.maps["flows"].delete_all([found for found, _ in loaded_once.maps["flows"].items()])
    loaded_once.maps["real_servers"].mapped()[:] = bytes(8 * SIZES["real_servers"])
    return loaded_once


def key(number: int) -> bytes:
    return number.to_bytes(40, "little")


def value(number: int) -> bytes:
    return number.to_bytes(4, "little")


def test_maps_have_the_sizes_that_were_asked_for(loaded: Loaded) -> None:
    assert {name: loaded.maps[name].entries for name in SIZES} == SIZES
    assert (loaded.maps["flows"].key_bytes, loaded.maps["flows"].value_bytes) == (40, 4)


def test_a_map_that_the_program_does_not_have(lane_object: Path) -> None:
    with pytest.raises(EdgeError, match="has no map nonsense"):
        bpf.load(lane_object, {"nonsense": 1})


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    file = tmp_path / "nothing.o"
    with pytest.raises(EdgeError, match="No such file"):
        bpf.load(file, {})
    file.write_bytes(b"no program")
    with pytest.raises(EdgeError, match=f"cannot read the program {file}"):
        bpf.load(file, {})


def test_a_size_that_the_kernel_refuses(lane_object: Path) -> None:
    with pytest.raises(EdgeError, match=f"cannot load the program {lane_object}"):
        bpf.load(lane_object, SIZES | {"flows": 2**32 - 1})


def test_values_come_and_go(loaded: Loaded) -> None:
    flows = loaded.maps["flows"]
    assert flows.lookup(key(1)) is None
    assert not flows.delete(key(1))
    flows.update(key(1), value(5))
    flows.update(key(1), value(6))
    assert flows.lookup(key(1)) == value(6)
    assert flows.delete(key(1))
    assert flows.lookup(key(1)) is None


@pytest.mark.parametrize("count", [0, 1, 7, 50])
def test_many_at_once(loaded: Loaded, count: int) -> None:
    flows = loaded.maps["flows"]
    wanted = {key(number): value(number) for number in range(count)}
    flows.update_all(wanted)
    assert dict(flows.items(at_once=16)) == wanted
    flows.delete_all(list(wanted))
    assert list(flows.items()) == []


def test_keys_that_are_not_there_are_passed_over(loaded: Loaded) -> None:
    flows = loaded.maps["flows"]
    flows.update_all({key(number): value(number) for number in (1, 2, 4, 6)})
    flows.delete_all([key(number) for number in (0, 1, 2, 3, 4, 5)])
    assert dict(flows.items()) == {key(6): value(6)}
    flows.delete_all([key(6), key(7), key(7)])
    assert list(flows.items()) == []


def test_a_full_map_says_so(loaded: Loaded) -> None:
    with pytest.raises(EdgeError, match=r"cannot write 101 values to map flows \(100 were written\)"):
        loaded.maps["flows"].update_all({key(number): value(number) for number in range(101)})


def test_keys_and_values_of_another_size_are_refused(loaded: Loaded) -> None:
    flows = loaded.maps["flows"]
    for use in (
        lambda: flows.lookup(b"short"),
        lambda: flows.delete(b"short"),
        lambda: flows.update(b"short", value(1)),
        lambda: flows.update(key(1), b"long value"),
        lambda: flows.update_all({b"short": value(1)}),
        lambda: flows.delete_all([b"short"]),
    ):
        with pytest.raises(EdgeError, match=r"map flows has (40|4) bytes"):
            use()


def test_an_array_is_memory_that_the_program_reads(loaded: Loaded) -> None:
    memory = loaded.maps["real_servers"].mapped()
    memory[8:16] = b"12345678"
    assert loaded.maps["real_servers"].lookup(value(1)) == b"12345678"
    assert [each for _, each in loaded.maps["real_servers"].items()] == [bytes(8), b"12345678", bytes(8)]
    with pytest.raises(EdgeError, match="cannot map map flows into memory"):
        loaded.maps["flows"].mapped()


def test_a_map_for_each_cpu_has_a_value_of_each(loaded: Loaded) -> None:
    traffic = loaded.maps["traffic"]
    found = traffic.lookup(value(2))
    assert found is not None
    assert traffic.of_cpus(found) == [bytes(16)] * bpf.possible_cpus()
    assert [traffic.of_cpus(each) for _, each in traffic.items()] == [[bytes(16)] * bpf.possible_cpus()] * 6


def test_what_was_closed_is_gone(lane_object: Path) -> None:
    with bpf.load(lane_object, SIZES) as loaded:
        flows = loaded.maps["flows"]
    with pytest.raises(EdgeError, match="Bad file descriptor"):
        flows.lookup(key(1))
