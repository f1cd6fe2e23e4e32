"""The errors that end a lab before its command has ended by itself."""

LAB_FAILED = 125
"""Exit code when the lab failed, and not the command in it. `timeout` and `docker run` use 125 in the same way."""


class LabError(Exception):
    """The lab could not be created. The message is for the user."""


class StopRequested(Exception):  # noqa: N818 - a request, not an error
    """A signal asked the lab to end. `signum` is the number of that signal."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"signal {signum}")
        self.signum = signum
