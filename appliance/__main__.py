"""The entry point of the `appliance` command. It reads the command line and starts what the command needs."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import __version__
from appliance.config.loading import Config, ConfigError, load
from appliance.config.tables import LANE_WORDS
from appliance.edge.errors import EdgeError

if TYPE_CHECKING:
    from appliance.director.config_file import ConfigFile

DEFAULT_CONFIG = Path("/etc/appliance/lvs.toml")

EXIT_FAILED = 1
EXIT_BAD_CONFIG = 2
_OF_OUTPUT = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EDQUOT)
"""What a write to standard output fails with. Other errors would be ours."""

_DESCRIPTION = "Inline layer-4 gateway: FULLNAT over NFQUEUE."
_EPILOG = """\
run, check, render-nft and cleanup work on this host. conns to host ask a running appliance, doctor asks it when there is
one. lab needs no other host: it makes a network of its own. `appliance COMMAND --help` describes one command.
"""
_RUN = """\
Run the appliance in the foreground until SIGTERM or Ctrl-C, which reset all sessions and undo all changes. SIGUSR2 ends it too,
and leaves everything in the kernel: sessions go on there, and the next run takes them over. SIGHUP reads the configuration again.
Needs root, or CAP_NET_ADMIN and CAP_NET_RAW; the lane needs CAP_BPF and CAP_PERFMON as well.
"""
_CHECK = """\
Check a configuration file and print every problem with its line. Needs no root. Exit code: 0 when the file is right, 2
when it is not.
"""
_RENDER_NFT = "Print the nftables ruleset that the appliance loads for a configuration. Changes nothing and needs no root."
_CLEANUP = """\
End for good what an appliance that crashed, or left by SIGUSR2, has left on this host: reset both ends of the sessions that the
kernel carries, remove lane, ruleset and addresses, and restore kernel parameters. Refuses while an appliance runs. The next
run would go on with all of it; so do not use this before a restart.
"""


def _run(options: argparse.Namespace) -> int:
    import uvloop

    from appliance.api import ListenError, make_app, serve
    from appliance.director import run
    from appliance.director.director import Director
    from appliance.director.supervisor import WorkerFailedError

    async def serve_api(gateway: Director, listen: Sequence[str]) -> Callable[[], Awaitable[None]]:
        return (await serve(make_app(gateway), listen, gateway.access.context)).cleanup

    try:
        uvloop.run(run.run(_config_file(options), serve_api))
    except (WorkerFailedError, ListenError) as error:
        raise EdgeError(str(error)) from error
    return 0


def _check(options: argparse.Namespace) -> int:
    from appliance.director.access import Access
    from appliance.director.access_lists import read_access

    config = load(options.file)
    read_access(config)
    for warning in (*config.warnings, *Access(config.api, str(options.file)).warnings):
        print(f"{options.file}: warning: {warning}", file=sys.stderr)
    real_servers = sum(len(service.real_servers) for service in config.services)
    counted = (("shard", config.gateway.shards), ("service", len(config.services)), ("real server", real_servers))
    shown = ", ".join(f"{number} {what}" if number == 1 else f"{number} {what}s" for what, number in counted)
    print(f"{options.file}: ok ({shown})")
    return 0


def _render_nft(options: argparse.Namespace) -> int:
    from appliance.director.plans import steered
    from appliance.policy.defence import Defence
    from appliance.policy.ruleset import render

    config = _config_file(options).read()
    ruleset = render(steered(config), Defence.of(config.sysctl), native=not options.compat)
    print(ruleset.nft, end="")
    if ruleset.iptables:
        print("\n# Load this with iptables-nft-restore --noflush, before the table above:")
        print("".join(f"#   {line}\n" for line in ruleset.iptables.splitlines()), end="")
    return 0


def _cleanup(_: argparse.Namespace) -> int:
    from appliance.director.run import clean_up

    if not clean_up():
        print("nothing to undo")
    return 0


def _look_here(file: Path) -> Mapping[str, Any]:
    """What the doctor says of this host and a configuration file, without a running appliance."""
    import asyncio

    from appliance.director.examination import look_twice
    from appliance.views.doctor import report

    found: Mapping[str, Any] = report(asyncio.run(look_twice(load(file)))).data
    return found


def _write_file(file: Path, before: str, after: str) -> str:
    """Replace a text in the configuration file; returns why not, or an empty text."""
    from appliance.edge.config_file import replace

    try:
        replace(file, before, after)
    except EdgeError as error:
        return str(error)
    return ""


def _config_file(options: argparse.Namespace) -> "ConfigFile":
    from appliance.director.config_file import ConfigFile

    def override(config: Config) -> Config:
        if options.shards is not None:
            config = config.with_shards(options.shards)
        return config if options.lane is None else config.with_lane(options.lane)

    return ConfigFile(options.config, override)


def parser() -> argparse.ArgumentParser:
    """The whole command line. Every command and every option has a help text; the reference is made from them."""
    from appliance.cli.changes import add_parsers as add_change_parsers
    from appliance.cli.doctor import add_parser as add_doctor_parser
    from appliance.cli.drain import add_parsers as add_drain_parsers
    from appliance.cli.host import add_parser as add_host_parser
    from appliance.cli.metrics import add_parser as add_metrics_parser
    from appliance.cli.operator import add_parsers as add_operator_parsers
    from appliance.cli.token import add_parser as add_token_parser
    from appliance.cli.trace import add_parsers as add_trace_parsers
    from appliance.lab.command import add_parser as add_lab_parser

    whole = argparse.ArgumentParser(prog="appliance", description=_DESCRIPTION, epilog=_EPILOG)
    whole.add_argument("--version", action="version", version=f"appliance {__version__}", help="print the version and exit")
    commands = whole.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_gateway_parsers(commands)
    add_operator_parsers(commands)
    add_metrics_parser(commands)
    add_host_parser(commands)
    add_doctor_parser(commands, DEFAULT_CONFIG, _look_here)
    add_lab_parser(commands)
    add_token_parser(commands)
    add_drain_parsers(commands)
    add_change_parsers(commands, DEFAULT_CONFIG, _write_file)
    add_trace_parsers(commands)
    return whole


def _add_gateway_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def command(name: str, run: Callable[[argparse.Namespace], int], help_text: str, description: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=description)
        added.set_defaults(run=run)
        return added

    gateway = command("run", _run, "run the appliance in the foreground", _RUN)
    check = command("check", _check, "check a configuration file", _CHECK)
    check.add_argument("file", metavar="FILE", type=Path, help="the configuration file to check")
    renderer = command("render-nft", _render_nft, "print the nftables ruleset of a configuration", _RENDER_NFT)
    renderer.add_argument(
        "--compat", action="store_true", help="print the form for kernels without the queue statement of nftables"
    )
    command("cleanup", _cleanup, "undo what a crashed appliance left on this host", _CLEANUP)
    for with_config in (gateway, renderer):
        with_config.add_argument(
            "--config",
            metavar="FILE",
            type=Path,
            default=DEFAULT_CONFIG,
            help=f"the configuration file (default: {DEFAULT_CONFIG})",
        )
        with_config.add_argument("--shards", metavar="N", type=int, help="number of shards, instead of gateway.shards in FILE")
        with_config.add_argument("--lane", choices=LANE_WORDS, help="instead of gateway.lane in FILE")


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says. Returns the exit code: 1 when the host refused something, 2 for a bad configuration.

    Raises SystemExit with code 2 for a wrong command line.
    """
    options = parser().parse_args(arguments)
    in_journal = "JOURNAL_STREAM" in os.environ  # the journal of systemd adds the time to each line itself
    logging.basicConfig(
        level=logging.INFO, format=("" if in_journal else "%(asctime)s ") + "%(levelname)-7s %(name)s: %(message)s"
    )
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_CONFIG
    except EdgeError as error:
        print(f"appliance: {error}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in _OF_OUTPUT:
            raise
        return _cannot_write(error)
    return code


def _cannot_write(error: OSError) -> int:
    """The exit code when the output cannot be written."""
    from appliance.cli.operator import READER_CLOSED, give_up_output

    give_up_output()
    if isinstance(error, BrokenPipeError):
        return READER_CLOSED
    print(f"appliance: the output cannot be written: {error.strerror}", file=sys.stderr)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
