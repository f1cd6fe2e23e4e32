"""One error for everything the host refuses."""


class EdgeError(RuntimeError):
    """The kernel or a tool said no; the message names what was tried and what it answered."""
