#!/usr/bin/env bash
# What a broker's memory is spent on, on loopback alone: resident memory before the first connection, for each idle
# connection, and with many channels on the disk.
#
#   deploy/ci/memory.sh
#   BROKER=target/debug/heliograph LOADGEN=target/debug/loadgen deploy/ci/memory.sh      # binaries that exist already
#   CHANNELS=1000000 deploy/ci/memory.sh                                             # channels on the disk, default 0
#
# Every row is a process of its own with one shard. Figures are of resident memory as the kernel counts it, with what
# the allocator keeps aside, the receive buffers, the recorder and the store's pages; loadgen's own figure ("service
# memory per connection") begins after its first connections. Compare rows of one machine only.
#
# Wants python3 (any from 3.9 on, no packages), two free cores, and 10,000 descriptors (`ulimit -n`).
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
if [ "${CHANNELS:-0}" -gt 0 ] && [ -z "${FILL:-}" ]; then
  cargo build --profile dist --locked -p broker --example fill_registry
  FILL="$target/examples/fill_registry"
fi
exec python3 deploy/ci/memory.py --broker "$BROKER" --loadgen "$LOADGEN" --channels "${CHANNELS:-0}" --fill "${FILL:-}"
