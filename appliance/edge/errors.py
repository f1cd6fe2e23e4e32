"""The error for everything that the host refuses."""


class EdgeError(RuntimeError):
    """The kernel or a tool refused something; the message names what was tried and what the answer was."""
