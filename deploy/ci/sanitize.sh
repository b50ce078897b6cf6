#!/usr/bin/env bash
# The crates with unsafe code, broker/ring and broker/mailbox, under the address sanitizer: their tests, with a nightly toolchain.
#
# Not a step of check.sh, which needs nothing but the toolchain of rust-toolchain.toml. Miri would see more, but it runs neither
# io_uring nor its shared memory; mailbox's protocol is searched by loom in check.sh --step wake-protocol.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! rustc +nightly --version 2>/dev/null; then
  echo "skipped: no nightly toolchain (rustup toolchain install nightly)"
  exit 0
fi
host="$(rustc +nightly --version --verbose | sed -n 's/^host: //p')"
RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/sanitize" \
  cargo +nightly test --locked -p heliograph-ring -p heliograph-mailbox --lib --tests --target "$host"
