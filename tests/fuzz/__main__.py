"""`python -m tests.fuzz`: the whole shard under a coverage-guided fuzzer, for a limited time.

Exit codes: 0 nothing was found; 1 an input that breaks a rule was found, or replayed; 2 the fuzzer cannot run; 130 Ctrl-C.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.stories import STORIES
from tests.support.fuzz_operations import play

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "tests" / "unit" / "stories" / "corpus"

_LONGEST_INPUT_BYTES = 2048
_HUNG_AFTER_S = 120
"""The longest time for one input, which usually takes a fiftieth of a second: a shared machine may stall."""

_PROGRESS_INTERVAL_S = 10.0
_PROGRESS = re.compile(r"#(\d+)\s.* cov: (\d+) .* corp: (\d+)/")
_WRITTEN = "Test unit written to "
_SEED = {"PYTHONHASHSEED": "0"}
"""Makes the order of hashes the same in each run; see `fuzz_operations` for what it decides."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Let random things happen to a shard, and check its rules."
    )
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long; default 60")
    parser.add_argument(
        "--corpus", type=Path, default=ROOT / ".cache" / "fuzz", metavar="DIR",
        help="keep what reached something new in DIR/inputs, and go on from there; what breaks a rule in DIR/finds",
    )  # fmt: skip
    parser.add_argument("--replay", type=Path, metavar="FILE", help="play this one input and show what happens")
    options = parser.parse_args(arguments)
    if options.replay:
        return _replay(options.replay)
    if not find_spec("atheris"):
        print("fuzz: atheris is not installed; `make fuzz` installs it", file=sys.stderr)
        return 2
    corpus = options.corpus.resolve()
    return _fuzz(options.seconds, corpus / "inputs", corpus / "finds")


def _replay(path: Path) -> int:
    """Play one input and print its transcript. One that breaks a rule raises, and the transcript is at the end of the
    traceback."""
    print("\n".join(play(path.read_bytes()).world.transcript))
    print(f"{path}: every rule was kept")
    return 0


def _fuzz(seconds: int, inputs: Path, finds: Path) -> int:
    for directory in (inputs, finds):
        directory.mkdir(parents=True, exist_ok=True)
    for story in STORIES.values():
        (inputs / hashlib.sha1(story).hexdigest()).write_bytes(story)
    command = (
        sys.executable, "-m", "tests.fuzz.harness", f"-max_total_time={seconds}", f"-max_len={_LONGEST_INPUT_BYTES}",
        "-len_control=0", f"-timeout={_HUNG_AFTER_S}", f"-artifact_prefix={finds}/", str(inputs), str(COMMITTED),
    )  # fmt: skip
    environment = {**os.environ, **_SEED}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as fuzzer:
        assert fuzzer.stderr
        try:
            said = _show_progress(fuzzer.stderr)
        except KeyboardInterrupt:
            return 130
    if not fuzzer.returncode:
        return 0
    found = [line.partition(_WRITTEN)[2] for line in said if _WRITTEN in line]
    if not found:
        print("\n".join(said), file=sys.stderr)
        print("fuzz: the fuzzer ended before its time", file=sys.stderr)
        return 2
    print(f"\nfuzz: {found[-1]} breaks a rule; to see it again:")
    print(f"PYTHONHASHSEED=0 {sys.executable} -m tests.fuzz --replay {found[-1]}")
    return 1


def _show_progress(lines: Iterable[str]) -> list[str]:
    """Print a line of progress every few seconds, and the last one. Returns all lines that are not about progress."""
    said, shown_at, last = list[str](), -_PROGRESS_INTERVAL_S, ""
    began = time.monotonic()
    for line in lines:
        if not (found := _PROGRESS.match(line)):
            said.append(line.rstrip())
            continue
        now = time.monotonic()
        inputs, branches, kept = found.groups()
        last = f"fuzz: {now - began:4.0f} s, {inputs} inputs, {branches} branches reached by {kept} of them"
        if now - shown_at >= _PROGRESS_INTERVAL_S:
            print(last, flush=True)
            shown_at, last = now, ""
    if last:
        print(last, flush=True)
    return said


if __name__ == "__main__":
    sys.exit(main())
