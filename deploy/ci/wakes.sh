#!/usr/bin/env bash
# What a wake costs, on loopback alone: from an offer to its POST while other channels are busy, relayed messages beside
# a storm of joins that go to a slow receiver as events, and memory for each device that waits with GET /wake.
#
#   deploy/ci/wakes.sh
#   BROKER=target/debug/heliograph LOADGEN=target/debug/loadgen deploy/ci/wakes.sh      # binaries that exist already
#   CHANNELS="1000 10000" CALLS=500 SECONDS_OF_STORM=60 DEVICES=10000 deploy/ci/wakes.sh   # the defaults; less for a try
#
# Every row is a process of its own with one shard, on the first core; loadgen has the second one, shared with the
# receiver and the viewers of this script. The receiver answers in 10 ms, in the storm in 1 s.
#
# Wants python3 (any from 3.9 on, no packages), two free cores, and 25,000 descriptors (`ulimit -n`).
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

target="${CARGO_TARGET_DIR:-target}/dist"
if [ -z "${BROKER:-}" ]; then
  cargo build --profile dist --locked -p broker
  BROKER="$target/heliograph"
fi
if [ -z "${LOADGEN:-}" ]; then
  cargo build --profile dist --locked -p loadgen
  LOADGEN="$target/loadgen"
fi
exec python3 deploy/ci/wakes.py --broker "$BROKER" --loadgen "$LOADGEN" --calls "${CALLS:-500}" \
  --storm "${SECONDS_OF_STORM:-60}" --devices "${DEVICES:-10000}" --channels ${CHANNELS:-1000 10000}
