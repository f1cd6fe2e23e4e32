"""The command line: `appliance run | check | render-nft | cleanup | lab`, and what operators ask. No logic of its own."""

import argparse
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from appliance import __version__
from appliance.config.loading import Config, ConfigError, load
from appliance.edge.errors import EdgeError

DEFAULT_CONFIG = Path("/etc/appliance/lvs.toml")

EXIT_FAILED = 1
EXIT_BAD_CONFIG = 2


def _run(options: argparse.Namespace) -> int:
    import uvloop

    from appliance.api import ListenError, make_app, serve
    from appliance.director import director
    from appliance.director.supervisor import WorkerFailedError

    async def serve_api(gateway: director.Director, listen: Sequence[str]) -> Callable[[], Awaitable[None]]:
        return (await serve(make_app(gateway), listen)).cleanup

    try:
        uvloop.run(director.run(partial(_configuration, options), serve_api))
    except (WorkerFailedError, ListenError) as error:
        raise EdgeError(str(error)) from error
    return 0


def _check(options: argparse.Namespace) -> int:
    config = load(options.file)
    real_servers = sum(len(service.real_servers) for service in config.services)
    print(f"{options.file}: ok ({config.gateway.shards} shards, {len(config.services)} services, {real_servers} real servers)")
    return 0


def _render_nft(options: argparse.Namespace) -> int:
    from appliance.director.plans import steered
    from appliance.policy.defence import Defence
    from appliance.policy.ruleset import render

    config = _configuration(options)
    ruleset = render(steered(config), Defence.of(config.sysctl), native=not options.compat)
    print(ruleset.nft, end="")
    if ruleset.iptables:
        print("\n# For iptables-nft-restore --noflush, before the table above:")
        print("".join(f"#   {line}\n" for line in ruleset.iptables.splitlines()), end="")
    return 0


def _cleanup(_: argparse.Namespace) -> int:
    from appliance.director.host import Host
    from appliance.edge import instance_lock

    with instance_lock.acquire():
        if not Host().undo_leftovers():
            print("nothing to undo")
    return 0


def _configuration(options: argparse.Namespace) -> Config:
    config = load(options.config)
    return config if options.shards is None else config.with_shards(options.shards)


def _parser() -> argparse.ArgumentParser:
    from appliance.cli.operator import add_parsers as add_operator_parsers
    from appliance.lab.command import add_parser as add_lab_parser

    parser = argparse.ArgumentParser(prog="appliance", description="Inline layer-4 gateway: FULLNAT over NFQUEUE.")
    parser.add_argument("--version", action="version", version=f"appliance {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], help_text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=help_text)
        added.set_defaults(run=run)
        return added

    check = command("check", _check, "check a configuration file; needs no root")
    check.add_argument("file", metavar="FILE", type=Path)
    gateway = command("run", _run, "run the appliance in the foreground until SIGTERM or Ctrl-C")
    renderer = command("render-nft", _render_nft, "print the nftables ruleset of a configuration")
    renderer.add_argument("--compat", action="store_true", help="for kernels without the nft queue statement")
    command("cleanup", _cleanup, "undo what a crashed appliance left on this host")
    for with_config in (gateway, renderer):
        with_config.add_argument("--config", metavar="FILE", type=Path, default=DEFAULT_CONFIG)
        with_config.add_argument("--shards", metavar="N", type=int, help="instead of gateway.shards")
    add_operator_parsers(commands)
    add_lab_parser(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code: 1 when the host refused something, 2 for a bad configuration or command line."""
    options = _parser().parse_args(arguments)
    in_journal = "JOURNAL_STREAM" in os.environ  # systemd's journal puts its own time on each line
    logging.basicConfig(
        level=logging.INFO, format=("" if in_journal else "%(asctime)s ") + "%(levelname)-7s %(name)s: %(message)s"
    )
    try:
        code: int = options.run(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_CONFIG
    except EdgeError as error:
        print(f"appliance: {error}", file=sys.stderr)
        return EXIT_FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
