#!/usr/bin/env bash
# Does the simulation notice when a rule of the broker is broken?
#
# usage: deploy/ci/mutants.sh [--check] [NAME…]       NAME is that of a patch, without .patch; default: all
#
# Each patch of broker/core/tests/sim/mutants breaks one rule of a node, each of broker/core/tests/cluster/mutants one of the cluster;
# its first line names it. The last commit is copied to target/mutants, and there, for each patch: applied, built, simulated until a
# seed fails, taken back. Prints the seed that caught each mutant.
# Exit code 1 if one is not caught, does not apply, or does not build; or if a world fails without any.
# --check only looks whether all patches apply, which takes a second.
# SIM_SEEDS: how many worlds at most for each (400), CLUSTER_SEEDS: the same for clusters (20000). MUTANTS_TARGET: where to build (target/mutants/build). Not the target directory of
# the repository itself: cargo tells the crates of a copy from those of the original by nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

readonly tests="$PWD/broker/core/tests"
readonly tree="$PWD/target/mutants/tree"
readonly log="$PWD/target/mutants/log"
export SIM_SEEDS="${SIM_SEEDS:-400}" CLUSTER_SEEDS="${CLUSTER_SEEDS:-20000}" RUST_BACKTRACE=0 CARGO_TERM_COLOR=never
export CARGO_TARGET_DIR="${MUTANTS_TARGET:-$PWD/target/mutants/build}"
# A patch is applied to the copy as if there were no repository around it.
export GIT_CEILING_DIRECTORIES="$PWD/target/mutants"

main() {
  local only_check="" names=() name failed=0
  if [ "${1:-}" = --check ]; then
    only_check=yes
    shift
  fi
  names=("$@")
  [ "${#names[@]}" -gt 0 ] || mapfile -t names < <(basename --suffix=.patch --multiple "$tests"/{sim,cluster}/mutants/*.patch)
  copy
  for name in "${names[@]}"; do
    git -C "$tree" apply --check "$(patch_of "$name")" || { echo "$name: does not apply"; failed=1; }
  done
  [ -z "$only_check" ] || { [ "$failed" -eq 0 ] && echo "${#names[@]} mutants apply"; exit "$failed"; }
  [ "$failed" -eq 0 ] || exit 1
  for name in $(printf '%s\n' "${names[@]}" | while read -r name; do simulation_of "$name"; done | sort -u); do
    simulate "$name" || { tail -n 40 "$log"; echo "a world fails without any mutant"; exit 1; }
  done
  for name in "${names[@]}"; do
    git -C "$tree" apply "$(patch_of "$name")"
    one "$name" || failed=1
    git -C "$tree" apply -R "$(patch_of "$name")"
  done
  [ "$failed" -eq 0 ] && echo "${#names[@]} mutants, all caught"
  exit "$failed"
}

# Files get the time of now: cargo builds what is younger than what it built.
copy() {
  rm -rf "$tree"
  mkdir -p "$tree"
  git archive HEAD | tar -x -m -C "$tree"
}

patch_of() {
  printf '%s\n' "$tests"/{sim,cluster}/mutants/"$1.patch" | while read -r patch; do [ ! -e "$patch" ] || echo "$patch"; done
}

# The test that a mutant is for.
simulation_of() {
  if [ -e "$tests/cluster/mutants/$1.patch" ]; then echo cluster_sim; else echo sim; fi
}

simulate() {
  (cd "$tree" && cargo test --locked -p broker-core --test "$1") >"$log" 2>&1
}

one() {
  local name="$1" began="$SECONDS" seed
  if simulate "$(simulation_of "$name")"; then
    echo "$name: NOT CAUGHT, $((SECONDS - began)) s"
    return 1
  fi
  seed="$(sed -n 's/^\(seed [0-9]*, \(step\|class\) [a-z0-9 ]*\):.*/\1/p' "$log" | head -n 1)"
  if [ -z "$seed" ] && ! grep -q "^no world met" "$log"; then
    tail -n 40 "$log"
    echo "$name: does not build"
    return 1
  fi
  echo "$name: ${seed:-a rule that no world met}, $((SECONDS - began)) s"
}

main "$@"
