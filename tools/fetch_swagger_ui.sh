#!/bin/bash
# Get the program of the page /docs, swagger-ui, as an npm package of a fixed version, and put its two files into build/swagger-ui.
# Nothing is done when they are there already.
set -euo pipefail
cd "$(dirname "$0")/.."
version=5.35.0
sha512=534eaba4cb56f55dd73c638179a993512af4674f63317e0826e00da44fc465b021c341bc0a0c2bcd4e18997927fe1d3008336c5dd19aad334d1c2dec53cc9551
place=build/swagger-ui

fail() { printf 'swagger-ui: %s\n' "$*" >&2; exit 1; }

[ "$(cat "$place/version" 2>/dev/null)" != "$version" ] || exit 0
command -v npm >/dev/null || fail "npm is not installed, so the page /docs only lists the routes (Debian: npm)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent --ignore-scripts "swagger-ui-dist@$version" >/dev/null) || fail "npm cannot get the package"
package=$work/swagger-ui-dist-$version.tgz
printf '%s  %s\n' "$sha512" "$package" | sha512sum --check --status || fail "the package is not the one that was chosen"
mkdir -p "$work/new"
tar -xzf "$package" -C "$work/new" --strip-components=1 \
  package/swagger-ui-bundle.js package/swagger-ui.css package/LICENSE package/NOTICE
printf '%s\n' "$version" >"$work/new/version"
rm -rf "$place"
mkdir -p build
mv "$work/new" "$place"
