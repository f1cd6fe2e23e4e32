#!/bin/bash
# Compile the lane's program, bpf/lane.bpf.c, to build/lane.bpf.o, or to the file that is named. PYTHON says who writes its header.
# Nothing is done when the object is newer than everything it is made of.
set -euo pipefail
cd "$(dirname "$0")/.."
object=${1:-build/lane.bpf.o}
python=${PYTHON:-.venv/bin/python}

fail() { printf 'lane: %s\n' "$*" >&2; exit 1; }
newest() { # the program NAME, or the one of the newest release that is installed
  command -v "$1" || compgen -c "$1-" | grep -E "^$1-[0-9]+$" | sort -t- -k2 -n | tail -1 || true
}

sources=(bpf/*.c bpf/*.h appliance/ipc/*.py appliance/model/*.py tools/build_lane.sh tools/lane_header.py)
if [ -e "$object" ]; then
  is_new=1
  for source in "${sources[@]}"; do [ "$object" -nt "$source" ] || is_new=; done
  [ -n "$is_new" ] && exit 0
fi
clang=$(newest clang) strip=$(newest llvm-strip)
[ -n "$clang" ] || fail "clang is not installed, so the lane is not built (Debian: clang, llvm, libbpf-dev, linux-libc-dev)"
[ -n "$strip" ] || fail "llvm-strip is not installed, so the lane is not built (Debian: llvm)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m tools.lane_header >"$work/lane_layout.h"
# BTF describes the maps to libbpf; it is made from debug information, which is taken out afterwards.
"$clang" -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter \
  -I"$work" -Ibpf -idirafter "/usr/include/$(uname -m)-linux-gnu" -c bpf/lane.bpf.c -o "$work/lane.bpf.o"
"$strip" --strip-debug "$work/lane.bpf.o"
mkdir -p "$(dirname "$object")"
mv "$work/lane.bpf.o" "$object"
