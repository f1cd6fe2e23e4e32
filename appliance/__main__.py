"""The entry point of the `appliance` command. It reads the command line and starts what the command needs."""

import errno
import logging
import os
import sys

from appliance.cli.command_line import CommandLine
from appliance.cli.operator import ENDED_BY_CTRL_C, READER_CLOSED, give_up_output
from appliance.cli.output import clean, complain
from appliance.config.problems import ConfigError
from appliance.edge.errors import EdgeError

EXIT_FAILED = 1
EXIT_BAD_CONFIG = 2
_OF_OUTPUT = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EDQUOT)
"""What a write to standard output fails with. Other errors would be ours."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says. Returns the exit code: 1 when the host refused something, 2 for a bad configuration.

    Raises SystemExit with code 2 for a wrong command line.
    """
    in_journal = "JOURNAL_STREAM" in os.environ  # the journal of systemd adds the time to each line itself
    logging.basicConfig(
        level=logging.INFO, format=("" if in_journal else "%(asctime)s ") + "%(levelname)-7s %(name)s: %(message)s"
    )
    try:
        code = _do(arguments)
        sys.stdout.flush()
    except ConfigError as error:
        print(clean(str(error)), file=sys.stderr)
        return EXIT_BAD_CONFIG
    except EdgeError as error:
        complain(str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        give_up_output()
        return ENDED_BY_CTRL_C
    except OSError as error:
        if error.errno not in _OF_OUTPUT:
            raise
        return _cannot_write(error)
    return code


def _do(arguments: list[str] | None) -> int:
    """The exit code of what the command line says. A help text has to be written, too, before the program ends."""
    try:
        options = CommandLine().parse_args(arguments)
    except SystemExit:
        sys.stdout.flush()
        raise
    code: int = options.run(options)
    return code


def _cannot_write(error: OSError) -> int:
    """The exit code when the output cannot be written."""
    give_up_output()
    if isinstance(error, BrokenPipeError):
        return READER_CLOSED
    complain(f"the output cannot be written: {error.strerror}")
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
