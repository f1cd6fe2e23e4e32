#!/bin/bash
# Get files of an npm package of a fixed version, and put them into build/NAME. Nothing is done when they are there already.
# usage: fetch_npm.sh NAME PACKAGE VERSION SHA512 WHY FILE...; WHY says what is missing without it, and FILE is a path in the package.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1 package=$2 version=$3 sha512=$4 why=$5
shift 5
place=build/$name

fail() { printf '%s: %s\n' "$name" "$*" >&2; exit 1; }

[ "$(cat "$place/version" 2>/dev/null)" != "$version" ] || exit 0
command -v npm >/dev/null || fail "npm is not installed, so $why (Debian: npm)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent --ignore-scripts "$package@$version" >/dev/null) || fail "npm cannot get the package"
packed=$work/$package-$version.tgz
printf '%s  %s\n' "$sha512" "$packed" | sha512sum --check --status || fail "the package is not the one that was chosen"
mkdir -p "$work/new" "$work/whole"
tar -xzf "$packed" -C "$work/whole" --strip-components=1
for file in "$@"; do mv "$work/whole/$file" "$work/new/"; done
printf '%s\n' "$version" >"$work/new/version"
rm -rf "$place"
mkdir -p build
mv "$work/new" "$place"
