"""What runs in the gateway of a lab in which each measurement brings its own: nothing but an answer that the lab waits for.

`python -m bench.rig.stand_in run --config FILE --shards N` stands in the place of the appliance's own program.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from appliance.config.loading import load
from appliance.lab.plan import make_plan


class _Healthy(BaseHTTPRequestHandler):
    """Answers every GET with 200."""

    def do_GET(self) -> None:
        """Answer, with no body."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def server_for(config: Path) -> HTTPServer:
    """A server where the admin API of this configuration would be. Raises ConfigError, LabError or OSError."""
    api = make_plan(load(config)).api
    return HTTPServer((api.host, api.port), _Healthy)


def main(arguments: Sequence[str]) -> int:
    """Answer until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.rig.stand_in", description=__doc__)
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--shards")
    options = parser.parse_args(arguments)
    with server_for(options.config) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
