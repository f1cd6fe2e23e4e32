#!/bin/bash
# What `make demo` runs: it starts a lab, and then runs itself as the client to show the main job of the appliance.
# KEEP=1 leaves the lab running and prints how to look inside and how to remove it.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != inside ]; then
  [ "$(id -u)" = 0 ] || { echo "demo: the demo creates network namespaces and binds packet queues, so it has to run as root" >&2; exit 1; }
  keep=()
  [ -z "${KEEP:-}" ] || keep=(--keep)
  echo "== a client, a gateway with the appliance, two real servers: network namespaces, configured by etc/lvs.toml"
  exec .venv/bin/appliance lab --config etc/lvs.toml "${keep[@]}" -- "$PWD/tools/demo.sh" inside
fi

gateway() { nsenter --net="/run/netns/$LAB_GATEWAY_NS" -- "$@"; }
api() { gateway curl --silent --show-error --fail-with-body "$@"; }
client() { curl --silent --show-error --fail --max-time 10 "http://$LAB_VIP:$LAB_PORT$1"; }
title() { printf '\n== %s\n' "$*"; }
shown() { printf '$ %s\n' "$*"; }

title "the client asks http://$LAB_VIP:$LAB_PORT/; the answer names the real server and the peer that it saw"
for _ in 1 2 3 4; do client /; echo; done

title "a hundred more requests, counted by real server"
for _ in $(seq 100); do client /; echo; done | sed 's/.*"real_server": "\([^"]*\)".*/\1/' | sort | uniq -c

title "64 MiB through the VIP in both directions; the digests must be equal"
there=$(client /bytes/67108864 | tee >(sha256sum >"$LAB_DIR/here") | curl --silent --max-time 60 --data-binary @- -H 'Expect:' \
        "http://$LAB_VIP:$LAB_PORT/sha256")
echo "downloaded: $(cut -d' ' -f1 "$LAB_DIR/here")"
echo "uploaded:   $there"

title "services and real servers"
shown "curl $LAB_API/stats/ip_vs"
api "$LAB_API/stats/ip_vs"

title "the extended counters"
shown "curl $LAB_API/stats/ext"
api "$LAB_API/stats/ext"

title "a tunable, changed while traffic flows: an idle session now ends after one second"
shown "curl -X PUT -d 1000 $LAB_API/sysctl/tcp_timeout_established"
api -X PUT -d 1000 "$LAB_API/sysctl/tcp_timeout_established"
exec 3<>"/dev/tcp/$LAB_VIP/$LAB_PORT"
printf 'GET / HTTP/1.1\r\nHost: demo\r\n\r\n' >&3
read -r -u 3 status
echo "an open session, answered: ${status%$'\r'}"
shown "curl $LAB_API/stats/ip_vs_conn | grep ESTABLISHED"
api "$LAB_API/stats/ip_vs_conn" | grep ESTABLISHED
started=$EPOCHREALTIME
cat <&3 >/dev/null 2>"$LAB_DIR/ending" || true
echo "left idle: $(sed 's/.*: //' "$LAB_DIR/ending") after $(awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s"
exec 3>&-
shown "curl -X PUT -d 5 $LAB_API/sysctl/tcp_timeout_established   # out of range"
api -X PUT -d 5 "$LAB_API/sysctl/tcp_timeout_established" || true
shown "curl -X PUT -d 900000 $LAB_API/sysctl/tcp_timeout_established"
api -X PUT -d 900000 "$LAB_API/sysctl/tcp_timeout_established"

title "done; the lab is removed now, unless KEEP=1 was given"
