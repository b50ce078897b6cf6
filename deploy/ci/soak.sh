#!/usr/bin/env bash
# A soak: one broker under mixed load with faults for this many seconds (default 1800), on loopback alone.
#
#   deploy/ci/soak.sh 1800
#   BROKER=target/debug/heliograph LOADGEN=target/debug/loadgen deploy/ci/soak.sh 30     # binaries that exist already
#
# Rounds of some ten seconds: sessions over TLS, a relay, a storm of reconnects, idle connections, API calls, peers that
# attack, clients that are killed, reloads. Between rounds nobody is connected; then resident memory and descriptors are
# read. deploy/ci/soak.py says what each part does and how much of it. Exit code 0:
#
#   * loadgen counted nothing lost, doubled, reordered, altered or misrouted, and no API call failed;
#   * in every scrape messages received = messages delivered or ended + pending + waiting in outboxes;
#   * descriptors after the last round are those after the first, or at most 4 more;
#   * resident memory grew by at most 8 MiB over the run (16 MiB below twenty rounds), by a line fitted through all samples but
#     the first round's;
#   * SIGTERM ended the broker with 0, and it logged no error.
#
# Wants python3 (any from 3.9 on, no packages).
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

seconds="${1:-1800}"
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || { echo "soak.sh takes a number of seconds, such as 1800"; exit 2; }
if [ -z "${BROKER:-}" ]; then
  cargo build --profile dist --locked -p broker
  BROKER="${CARGO_TARGET_DIR:-target}/dist/heliograph"
fi
if [ -z "${LOADGEN:-}" ]; then
  cargo build --profile dist --locked -p loadgen
  LOADGEN="${CARGO_TARGET_DIR:-target}/dist/loadgen"
fi
exec python3 deploy/ci/soak.py --seconds "$seconds" --broker "$BROKER" --loadgen "$LOADGEN"
