#!/bin/bash
# Put prometheus and promtool of the distribution into build/prometheus, for the tests that ask them. The package is unpacked and
# not installed, because its installation starts a service on port 9090 and makes a user. Needs no root.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'prometheus: %s\n' "$*" >&2; }
# Without them the tests that need them are skipped, with this reason.
give_up() { say "$*; tests that need it are skipped"; exit 0; }

[ ! -x build/prometheus/usr/bin/prometheus ] || exit 0
command -v apt-get >/dev/null || give_up "there is no apt-get to fetch the package with"
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
# apt downloads as a user of its own, who must be able to write here.
[ "$(id -u)" != 0 ] || ! getent passwd _apt >/dev/null || chown _apt "$new"
fetch() { (cd "$new" && apt-get download -q prometheus >log 2>&1); }
if ! fetch; then
  # The package lists may be missing or old; only root may fetch them.
  [ "$(id -u)" = 0 ] && apt-get update -q >"$new/log" 2>&1 && fetch || { cat "$new/log" >&2; give_up "the package cannot be fetched"; }
fi
dpkg-deb --extract "$new"/prometheus_*.deb "$new/unpacked"
mkdir -p build
rm -rf build/prometheus
mv "$new/unpacked" build/prometheus
say "unpacked into build/prometheus: $(build/prometheus/usr/bin/promtool --version 2>&1 | head -1)"
