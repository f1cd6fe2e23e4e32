"""hashing.py: numbers that never change, and that look like chance."""

import subprocess
import sys
from statistics import mean

from appliance.policy.schedulers.hashing import fixed_hash, mixed


def test_the_numbers_are_pinned() -> None:
    """Other numbers would send all clients of `sh` and `mh` elsewhere at an upgrade."""
    assert [f"{fixed_hash(b'192.0.2.1', purpose):x}" for purpose in (b"sh", b"mh")] == PINNED
    assert f"{mixed(1):x}" == "5692161d100b05e5"


def test_they_are_the_same_in_every_process() -> None:
    command = "from appliance.policy.schedulers.hashing import fixed_hash; print(fixed_hash(b'x', b'sh'))"
    found = {
        subprocess.run([sys.executable, "-c", command], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("0", "1")
    }
    assert found == {f"{fixed_hash(b'x', b'sh')}\n".encode()}


def test_each_bit_is_set_in_half_of_them() -> None:
    for numbers in ([fixed_hash(bytes([byte]), b"sh") for byte in range(256)], [mixed(number) for number in range(1, 257)]):
        assert len(set(numbers)) == 256
        assert all(0.3 < mean(number >> bit & 1 for number in numbers) < 0.7 for bit in range(64))


PINNED = ["b38cb732079b91a6", "69320cbe6deb317e"]
