#!/bin/bash
# Make the environment .venv with everything in requirements-dev.lock, and install the Debian packages the project needs.
# As root, missing packages are installed; as an ordinary user they are named. Extra packages to install: the arguments.
# It prints one line for each step, and nothing for what is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'prepare: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# The packages that build the environment, and those whose programs the appliance and its lab call.
packages=(python3-venv python3-dev gcc libc6-dev libnetfilter-queue-dev libnfnetlink-dev
          nftables iptables iproute2 iputils-ping util-linux procps curl "$@")
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ]; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    export DEBIAN_FRONTEND=noninteractive
    apt_install() { apt-get install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1; }
    say "apt packages: ${missing[*]}"
    # The package lists may be missing or old; they are fetched only when the first attempt fails.
    if ! apt_install; then
      say "apt package lists"
      { apt-get update -q >"$log" 2>&1 && apt_install; } || { cat "$log" >&2; fail "apt-get failed"; }
    fi
  else
    say "these packages are missing, and only root can install them: ${missing[*]} (going on without them)"
  fi
fi

ready=.venv/.ready
if [ "$ready" -nt requirements-dev.lock ] && [ "$ready" -nt pyproject.toml ]; then
  exit 0
fi
# Debian's own interpreter comes first, because it is built with profile-guided optimisation. Interpreters of version managers
# often are not, and with those a packet costs about 1.5 times as much.
for python in "${PYTHON:-/usr/bin/python3}" python3; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
done
command -v "$python" >/dev/null || fail "python3 is not installed"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed, and this is $("$python" -V)"
if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
  say "virtual environment .venv"
  rm -rf .venv
  "$python" -m venv .venv || fail "python3 -m venv failed; on Debian it needs the package python3-venv"
fi
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
lock=requirements-dev.lock
if ! [ -e /usr/include/libnetfilter_queue/libnetfilter_queue.h ]; then
  # NetfilterQueue is compiled here and needs these headers. Only what receives real packets needs NetfilterQueue.
  say "leaving out NetfilterQueue: libnetfilter-queue-dev is not installed, so what needs root cannot run"
  lock=.venv/requirements-without-queue.lock
  awk '/^[A-Za-z]/ { keep = tolower($1) !~ /^netfilterqueue==/ } keep' requirements-dev.lock >"$lock"
fi
say "Python packages of requirements-dev.lock"
"${pip[@]}" --require-hashes -r "$lock"
say "the appliance itself"
"${pip[@]}" --quiet --no-deps --editable .
touch "$ready"
