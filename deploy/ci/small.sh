#!/usr/bin/env bash
# A broker with one shard in a control group of 64 MB, with the limits of deploy/INSTALL.md ("How many cameras on which
# machine"): 1,500 clients over TLS that stay, 500 that are cut off and come back at once, twice, and a log of more lines
# than are kept. All must connect, none of those that stay may lose its connection, and the kernel must end nothing.
#
#   deploy/ci/small.sh
#   BROKER=target/dist/heliograph LOADGEN=target/dist/loadgen deploy/ci/small.sh      # binaries that exist already
#
# Wants root, for the control group (of either version), openssl, and 5,000 descriptors (`ulimit -n`).
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
. deploy/packages/shared.sh

# The program of a package: given, of deploy/release.sh, or built here.
program() {
  local given="$1" target="${CARGO_TARGET_DIR:-target}"
  [ -n "$given" ] || given="$(find "$target/packaged-$2/$(uname -m)-unknown-linux-gnu/dist/$3" 2>/dev/null || true)"
  [ -n "$given" ] || { cargo build --profile dist --locked -p "$2" >&2 && given="$target/dist/$3"; }
  realpath "$given"
}
broker="$(program "${BROKER:-}" broker heliograph)" loadgen="$(program "${LOADGEN:-}" loadgen loadgen)"

place="$(mktemp -d)" pids=()
own="$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)"
if [ -n "$own" ]; then
  group="/sys/fs/cgroup/memory$own/heliograph-small-$$" limit=memory.limit_in_bytes peak=memory.max_usage_in_bytes events=memory.oom_control
else
  group="/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/heliograph-small-$$" limit=memory.max peak=memory.peak events=memory.events
fi
end() {
  kill "${pids[@]}" 2>/dev/null || true
  wait
  rmdir "$group" 2>/dev/null || true
  rm -rf "$place"
}
trap end EXIT
mkdir "$group" && echo $((64 << 20)) >"$group/$limit" || { echo "skipped: no control group with a memory limit can be made here"; exit; }

# The block of the page, and what a test needs beside it.
{
  printf 'auth = "none"\nlisten = ["https://127.0.0.1:0"]\nlog_level = "trace"\n'
  sed -n '/^## How many cameras/,/^## /{/^```toml$/,/^```$/{/^```/d;p}}' deploy/INSTALL.md
  printf '[tls]\ncert = "server.pem"\nkey = "server.key"\n'
} >"$place/broker.toml"
grep -q '^connections = ' "$place/broker.toml" || fail "deploy/INSTALL.md has no limits"
cd "$place"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.pem 2>/dev/null
touch ready
sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" "$broker" serve --config broker.toml --data-dir data --shards 1 >ready 2>log &
pids+=($!)
until grep -q '^ready ' ready; do kill -0 "${pids[0]}" || { cat log; fail "the start"; }; sleep 0.1; done
url="$(sed 's/^ready \([^ ]*\) .*/\1/' ready)"
# Starts the load tester; its id is in `last`.
load() {
  "$loadgen" run --target "$url" --insecure --create-channels --viewers-per-channel 1 --quiet "$@" >"$2.out" 2>&1 &
  last=$!
  pids+=("$last")
}

load --mode idle --channels 750 --channel-prefix stay- --duration 60
stay="$last"
sleep 15
for _ in 1 2; do
  load --mode storm --channels 250 --channel-prefix back- --duration 60
  sleep 10
  kill -KILL "$last"
  wait "$last" 2>/dev/null || true
done
load --mode storm --channels 250 --channel-prefix back- --duration 10
wait "$last" || { cat storm.out; fail "those that came back"; }
seen "500 connections came back"
wait "$stay" || { cat idle.out; fail "those that stayed"; }
seen "1,500 stayed"
kill -0 "${pids[0]}" || { tail log; fail "the broker has ended"; }
! grep -E '^oom_kill [1-9]' "$group/$events" || fail "the kernel has ended a process"
lines="$(stat --format=%s log)"
[ "$lines" -gt $((6 << 20)) ] || fail "the log has $lines bytes, which are all kept"
seen "nothing was ended: peak $(($(cat "$group/$peak") >> 20)) MiB, resident $(sed -n 's/^VmHWM:[^0-9]*//p' "/proc/${pids[0]}/status"), a log of $((lines >> 20)) MiB"
