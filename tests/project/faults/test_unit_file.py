"""unit_file.py: the unit that the project ships is understood, and one that says more is refused."""

import pytest

from faults.unit import UNIT_FILE
from faults.unit_file import UnitFile, UnitFileError, replaced

SHIPPED = UNIT_FILE.read_text()
OWN = ("python", "-m", "appliance")


def test_the_shipped_unit() -> None:
    unit = UnitFile.parse(SHIPPED)
    assert replaced(unit.start, OWN, "/own.toml") == (*OWN, "run", "--config", "/own.toml")
    assert [replaced(command, OWN, "/own.toml") for command in unit.stop_post] == [(*OWN, "cleanup")]
    assert not unit.start_pre
    assert (unit.restart_s, unit.stop_s, unit.no_restart_codes) == (2.0, 15.0, frozenset({2}))
    assert (unit.runtime_directories, unit.keeps_runtime_directories, unit.most_files) == (("appliance",), True, 4096)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("KillMode=mixed", "KillMode=process"),
        ("Restart=on-failure", "Restart=always"),
        ("ExecStopPost=/opt", "ExecStopPost=@/opt"),
        ("ExecStopPost=/opt", "ExecStopPost=opt"),
    ],
)
def test_what_is_not_understood_is_refused(before: str, after: str) -> None:
    assert before in SHIPPED
    with pytest.raises(UnitFileError):
        UnitFile.parse(SHIPPED.replace(before, after))


def test_prefixes_say_nothing_to_somebody_who_is_root() -> None:
    prefixed = SHIPPED.replace("ExecStopPost=/opt", "ExecStopPost=-+/opt")
    assert UnitFile.parse(prefixed) == UnitFile.parse(SHIPPED)


def test_other_programs_are_refused() -> None:
    with pytest.raises(UnitFileError, match="only the appliance itself"):
        replaced(("/usr/bin/rm", "-r"), OWN, "")


def test_the_last_of_several_values_holds_and_comments_do_not() -> None:
    assert UnitFile.parse(f"{SHIPPED}\nRestartSec=7\n#RestartSec=9\n").restart_s == 7.0
