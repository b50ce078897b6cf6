#!/usr/bin/env bash
# Upgrades three nodes under load from an older program to that of this tree, one by one, and back: what a rolling upgrade
# and its rollback must keep. Nothing that was acknowledged may be gone, no message lost, doubled or misrouted.
#
#   deploy/ci/upgrade.sh COMMIT        the program of that commit
#   deploy/ci/upgrade.sh neighbour     this tree's program with an inner version one lower
#   deploy/ci/upgrade.sh PATH          a program that exists
#
# Wants root, for network namespaces, and what check.sh installs. Builds without optimisation, a commit below target/upgrade.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

readonly place="$PWD/target/upgrade" old="${1:?a commit, the word neighbour, or the path of a program}"
GLOMMIO_LIBURING_DIR="$(deploy/ci/liburing.sh)"
export GLOMMIO_LIBURING_DIR CARGO_TERM_COLOR=never CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
[ -n "$(command -v cargo)" ] || PATH="$HOME/.cargo/bin:$PATH"

# What both builds are made of, so that the neighbour's needs none of its own for crates of others.
readonly parts=(--workspace --exclude benches --exclude etcd-generator --exclude documents)

mkdir -p "$place"
program="$place/heliograph"
if [ "$old" = neighbour ]; then
  version="$(sed -n 's/^    None => \([0-9]\),$/\1/p' broker/core/src/cluster/limits.rs)"
  HELIOGRAPH_TEST_INNER_VERSION=$((version - 1)) cargo build --locked "${parts[@]}" --bins
  cp "${CARGO_TARGET_DIR:-target}/debug/heliograph" "$program"
elif [ -x "$old" ] && [ ! -d "$old" ]; then
  program="$(realpath "$old")"
else
  commit="$(git rev-parse --verify "$old^{commit}")"
  rm -rf "$place/tree"
  mkdir "$place/tree"
  git archive "$commit" | tar -x -C "$place/tree"
  (cd "$place/tree" && HELIOGRAPH_COMMIT="$commit" cargo build --locked -p broker --target-dir "$place/target")
  cp "$place/target/debug/heliograph" "$program"
fi
"$program" version
cargo build --locked "${parts[@]}" --bins
HELIOGRAPH_OLD="$program" cargo test --locked "${parts[@]}" --test live -- --ignored --nocapture cluster_netns::upgrade
