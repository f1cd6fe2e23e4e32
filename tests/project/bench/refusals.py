"""Command lines that a program of the benchmarks refuses."""

from collections.abc import Callable, Sequence

import pytest


def refusal(capsys: pytest.CaptureFixture[str], parse: Callable[[Sequence[str]], object], arguments: Sequence[str]) -> str:
    """What is said of arguments that are refused, as a wrong command line is."""
    with pytest.raises(SystemExit) as refused:
        parse(arguments)
    assert refused.value.code == 2
    return capsys.readouterr().err
