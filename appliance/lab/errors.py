"""What can end a lab before its command has ended by itself."""

LAB_FAILED = 125
"""Exit code when the lab failed and not the command in it; `timeout` and `docker run` use the same number so."""


class LabError(Exception):
    """The lab could not be made; the message is for the person who asked for it."""


class StopRequested(Exception):  # noqa: N818 - somebody's wish, not an error
    """A signal asked the lab to end. `signum` is that signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"signal {signum}")
        self.signum = signum
