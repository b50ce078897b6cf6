#!/usr/bin/env bash
# Runs the fenced blocks of the pages as a reader would: deploy/conformance/README.md, "Blocks of the pages".
#
#   deploy/ci/blocks.sh          as an ordinary user, and as root in a throwaway system if this is root
#   deploy/ci/blocks.sh --all    those that need registries of packages as well: in this machine's network, whose ports
#                                8080, 8443, 8090 and, for root, 443 must be free
#
# Wants what check.sh installs (its functions debian_packages, python_clients and node_clients), curl and openssl.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
case "$*" in
  "") ;;
  --all) export HELIOGRAPH_BLOCKS=all ;;
  *) echo "$*: allowed --all, or nothing"; exit 2 ;;
esac
# As check.sh builds, so that what it builds is used again.
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
# All tests, so that both programs are built like those of check.sh.
cargo test --locked -p broker -p loadgen --no-run
cargo test --locked -p broker -p loadgen --test live -- --include-ignored --nocapture --test-threads 1 clients::blocks::
