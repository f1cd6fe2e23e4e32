#!/bin/bash
# The native steering, and the service's units with the lane, on a stock Debian kernel in a machine emulated by qemu. SHORT=1:
# four shards, few requests, and of the units what differs from kernel to kernel.
# The emulated machine is some twenty times slower than this one: minutes are normal.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "test-stock-kernel: the emulated machine shows this machine's files, so it has to run as root" >&2; exit 1; }

guest() { PYTHONDONTWRITEBYTECODE=1 python3 -m tools.stock_kernel --timeout 1800 --env REQUESTS --env LANE_LIVES --env PYTHONDONTWRITEBYTECODE -- "$@"; }
native() { # SHARDS REQUESTS
  echo "== stock kernel: native steering, $1 shards, $2 requests"
  REQUESTS=$2 guest .venv/bin/appliance lab --config tests/lab/tcp_and_udp.toml --shards "$1" -- .venv/bin/python tests/stock_kernel/native.py
}

tests() { # FILES and options of pytest
  guest .venv/bin/python -m pytest -q -p no:cacheprovider "$@"
}

echo "== stock kernel: the lane's program, beside the Python that it repeats"
LANE_LIVES=30 tests tests/kernel
native 4 40
echo "== stock kernel: the lane with the rights of the service, under systemd; sessions over a restart and a stop"
if [ -n "${SHORT:-}" ]; then
  tests tests/systemd/test_privileges.py tests/systemd/test_sessions.py -k "allows or restart_keeps or stop_resets"
  exit 0
fi
tests tests/systemd
native 1 200
native 2 200
echo "== stock kernel: a stop, a crash and a flush leave the host as it was"
tests tests/lab/test_resilience.py -k "clean_stop or after_a_crash or flushed"
