"""The lab around a program of this package: how it is put up, and what the program finds in it."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from appliance.lab import command
from bench.rig.topology import BenchError, Site, module
from faults.gateway import Gateway
from faults.site import has_lane, lab_configuration


def run_in_lab(name: str, given: Sequence[str], options: argparse.Namespace, configuration: str) -> int:
    """Put up a lab in which `faults.unit` runs the appliance with this configuration, and in it the program `name` again.

    The program gets the same command line and `--inside-lab CONFIG CONTROL`. Returns its exit code. `options` has `lane` and
    `shards`. Raises BenchError.
    """
    if options.lane == "on" and not has_lane():
        raise BenchError("this version of the appliance has no lane")
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    with tempfile.TemporaryDirectory() as directory:
        lab, own, control = (Path(directory, file) for file in ("lab.toml", "own.toml", "control"))
        lab.write_text(lab_configuration())
        own.write_text(configuration)
        inside = module(name, *given, "--inside-lab", str(own), str(control))
        line = ("--config", str(lab), "--shards", str(options.shards), "--", *inside)
        return command.run(parser.parse_args(line), appliance=module("faults.unit", str(own), str(control)))


def gateway_of(options: argparse.Namespace) -> Gateway:
    """The appliance in the lab around this process. `options` has `inside_lab` and `shards`."""
    config, control = map(Path, options.inside_lab)
    return Gateway(Site.of_environment(), config, control, options.shards)
