"""Access lists in files: what is read, and how a file that is wrong is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.config.loading import Config, ConfigError, parse
from appliance.director import access_lists
from appliance.director.access_lists import changes, narrowed, read_access
from appliance.edge import list_file
from appliance.policy.access_rules import Rate
from appliance.policy.prefixes import Prefixes, range_of

SHIPPED = (Path(__file__).parents[3] / "etc/lvs.toml").read_text()


def config(keys: str) -> Config:
    shipped = SHIPPED.replace('synproxy = "auto"\n', "") if "synproxy" in keys else SHIPPED
    return parse(shipped.replace('name = "web"\n', f'name = "web"\n{keys}\n', 1), "lvs.toml")


def prefixes(*texts: str) -> Prefixes:
    return Prefixes(map(range_of, texts))


def refusal(keys: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_access(config(keys))
    return str(caught.value)


def test_a_service_without_any_key_is_none_of_them() -> None:
    assert read_access(config("")) == ()
    assert read_access(config("client_mask = 24\nclient_new_burst = 5")) == (), "without client_new_per_s they do nothing"


def test_prefixes_of_keys_and_files_are_one_list(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("\ufeff10.0.0.0/9 # half\r\n\n  # nothing\n10.128.0.0/9")
    second.write_text("")
    (web,) = read_access(config(f'deny = ["192.0.2.1"]\ndeny_files = ["{first}", "{second}"]\nallow_files = ["{second}"]'))
    assert web.deny == prefixes("192.0.2.1", "10.0.0.0/8")
    assert web.allow == Prefixes(), "an empty list allows nobody, and is not the same as none"
    assert (web.client_rate, web.service_rate) == (None, None)


def test_a_burst_is_as_many_as_in_a_second_unless_it_is_said() -> None:
    (web,) = read_access(config("client_new_per_s = 5\nsynproxy = false\nnew_per_s = 7\nnew_burst = 9"))
    assert (web.client_rate, web.service_rate) == (Rate(5, 5), Rate(7, 9))


def test_each_wrong_line_is_named_with_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "list"
    file.write_text("10.0.0.0/8\n10.0.0.1/8 # no\nnonsense\x1b[0m\n")
    assert refusal(f'deny_files = ["{file}"]').splitlines() == [
        f'{file}:2: "10.0.0.1/8" has bits set beyond its prefix (deny_files of service web)',
        f'{file}:3: "nonsense\\u001b[0m" is not an IPv4 address or prefix, such as 192.0.2.0/24 (deny_files of service web)',
    ]
    monkeypatch.setattr(access_lists, "MOST_PROBLEMS", 1)
    assert len(refusal(f'deny_files = ["{file}"]').splitlines()) == 1


def test_a_line_of_a_file_that_not_everybody_may_read_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("root:$6$secret\n")
    file.chmod(0o600)
    said = refusal(f'allow_files = ["{file}"]')
    assert said.startswith(f"{file}:1: what stands there is not an IPv4 address")
    assert "$6$" not in said


def _directory(path: Path) -> None:
    path.mkdir()


def _writable(path: Path) -> None:
    path.write_text("")
    path.chmod(0o666)


def _dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def _latin(path: Path) -> None:
    path.write_bytes(b"10.0.0.0/8\n\xff\n")


def _large(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(list_file.LONGEST_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda _: None, "it cannot be opened: No such file or directory"),
        (_directory, "it is not a regular file"),
        (os.mkfifo, "it is not a regular file"),
        (_dangling, "it cannot be opened: No such file or directory"),
        (_writable, "others than its owner may change it (mode 0666); chmod go-w"),
        (_latin, "line 2 is not UTF-8 text"),
        (_large, "it is longer than 33554432 bytes"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    """None of them is waited for."""
    file = tmp_path / "list"
    make(file)
    assert refusal(f'deny_files = ["{file}"]') == f"{file}: cannot be used (deny_files of service web): {why}"


def test_a_symbolic_link_to_a_good_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("10.0.0.0/8\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (web,) = read_access(config(f'deny_files = ["{tmp_path / "link"}"]'))
    assert web.deny == prefixes("10.0.0.0/8")


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "list"
    file.write_text("10.0.0.0/8\n")
    read = os.read

    def read_and_grow(descriptor: int, most: int) -> bytes:
        data = read(descriptor, most)
        if not data:
            with file.open("a") as stream:
                stream.write("10.0")
        return data

    monkeypatch.setattr(os, "read", read_and_grow)
    assert "it has changed while it was read" in refusal(f'deny_files = ["{file}"]')


def test_all_files_together_have_a_bound_and_each_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_lists, "MOST_PREFIXES", 3)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("10.0.0.0/8\n192.0.2.1\n")
    other.write_text("192.0.2.2\n192.0.2.3\n")
    assert read_access(config(f'deny_files = ["{one}"]\nallow_files = ["{one}"]'))
    said = refusal(f'deny_files = ["{one}"]\nallow_files = ["{other}"]')
    assert said == f"{other}: has too many prefixes (allow_files of service web): the files of a configuration may have 3 in all"


def test_what_has_changed_is_said_also_when_only_a_file_has(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("10.0.0.0/8\n")
    wanted = config(f'deny_files = ["{file}"]\nclient_new_per_s = 5')
    before = read_access(wanted)
    file.write_text("10.0.0.0/8\n192.0.2.1\n")
    after = read_access(wanted)
    assert changes(before, before) == ()
    assert changes(before, after) == ("service web: deny has 2 ranges of addresses, had 1",)
    assert changes(after, ()) == ("service web: deny has 0 ranges of addresses, had 2",)
    assert narrowed(before, before) == []
    assert narrowed(before, after) == list(after)
    assert narrowed((), read_access(config("client_new_per_s = 5"))) == [], "a limit is about new connections"
