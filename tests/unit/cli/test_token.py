"""cli/token.py: a token is printed once, and its line for the file beside it."""

import pytest

from appliance.__main__ import main
from appliance.model.token import read_tokens


@pytest.mark.parametrize(("options", "may_write"), [([], True), (["--read-only"], False)])
def test_the_line_is_that_of_the_token(capsys: pytest.CaptureFixture[str], options: list[str], may_write: bool) -> None:
    assert main(["token", "new", "grafana", *options]) == 0
    line, token = capsys.readouterr()
    [known] = read_tokens(line)
    assert (known.name, known.may_write) == ("grafana", may_write)
    assert read_tokens(line).find(token.strip()) == known
    assert token.strip() not in line


def test_no_two_tokens_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(10):
        main(["token", "new", "a"])
    assert len(set(capsys.readouterr().err.split())) == 10


def test_a_name_that_cannot_stand_in_the_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["token", "new", "a b"])
    assert "'a b' is not a name; a name is 1 to 64 letters" in capsys.readouterr().err
