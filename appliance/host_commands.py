"""The commands that work on this host: run, check, render-nft, cleanup; and what doctor and save need of it."""

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.cli.operator import describe
from appliance.config.loading import Config, load
from appliance.config.tables import LANE_WORDS
from appliance.edge.errors import EdgeError

if TYPE_CHECKING:
    from appliance.director.config_file import ConfigFile

DEFAULT_CONFIG = Path("/etc/appliance/lvs.toml")

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


_REPLAY = """\
Hand the packets of a capture to shards once more, with the times of the capture, and print what becomes of each. Needs no root
and changes nothing. A capture of appliance capture says which services and tunables were in force, and a verdict that is not that
of the capture is shown with it. It begins without sessions. Exit code: 0; 3 when a verdict is another one; 1 when the file cannot
be read.
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


def _replay(options: argparse.Namespace) -> int:
    from appliance.replay import replay

    return replay(options, DEFAULT_CONFIG)


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


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options of `run`."""
    describe(parser, _run, _RUN, "run --config /etc/appliance/lvs.toml")
    _add_config(parser)


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the options of `check`."""
    describe(parser, _check, _CHECK, "check /etc/appliance/lvs.toml")
    parser.add_argument("file", metavar="FILE", type=Path, help="the configuration file to check")


def add_render_nft(parser: argparse.ArgumentParser) -> None:
    """Add the options of `render-nft`."""
    describe(parser, _render_nft, _RENDER_NFT, "render-nft --config new.toml")
    parser.add_argument(
        "--compat", action="store_true", help="print the form for kernels without the queue statement of nftables"
    )
    _add_config(parser)


def add_cleanup(parser: argparse.ArgumentParser) -> None:
    """Add the options of `cleanup`."""
    describe(parser, _cleanup, _CLEANUP, "cleanup")


def add_replay(parser: argparse.ArgumentParser) -> None:
    """Add the options of `replay`."""
    describe(parser, _replay, _REPLAY, "replay client.pcapng", "replay client.pcapng --set conn_max=1000")
    parser.add_argument("file", metavar="FILE", type=Path, help="a capture: pcapng or pcap")
    parser.add_argument(
        "--config",
        metavar="CONFIG",
        type=Path,
        help=f"go by this configuration (default: what the capture says; {DEFAULT_CONFIG} when it says nothing)",
    )
    parser.add_argument(
        "--set", metavar="NAME=VALUE", dest="tunables", action="append", default=[], help="go by this value of a tunable"
    )


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """Add the options of `doctor`, which looks at this host itself when no appliance runs here."""
    from appliance.cli import doctor

    doctor.add_doctor(parser, DEFAULT_CONFIG, _look_here)


def add_save(parser: argparse.ArgumentParser) -> None:
    """Add the options of `save`, which writes the file itself."""
    from appliance.cli import changes

    changes.add_save(parser, DEFAULT_CONFIG, _write_file)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=DEFAULT_CONFIG,
        help=f"the configuration file (default: {DEFAULT_CONFIG})",
    )
    parser.add_argument("--shards", metavar="N", type=int, help="number of shards, instead of gateway.shards in FILE")
    parser.add_argument("--lane", choices=LANE_WORDS, help="instead of gateway.lane in FILE")
