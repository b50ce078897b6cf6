#!/usr/bin/env bash
# Do the simulation and the attacks notice when a rule of the broker is broken?
#
# usage: deploy/ci/mutants.sh [--check] [NAME…]       NAME is that of a patch, without .patch; default: all
#
# Each patch of broker/core/tests/sim/mutants breaks one rule of a node, each of broker/core/tests/cluster/mutants one of the cluster,
# each of broker/tests/live/attacks/mutants one that a module of the attacks holds, with which its name begins; its first line names
# the rule. The last commit is copied to target/mutants, and there, for each patch: applied, built, simulated until a seed fails, or
# attacked; taken back. Prints the seed or the test that caught each mutant.
# Exit code 1 if one is not caught, does not apply, or does not build; or if a world fails without any.
# --check only looks whether all patches apply, which takes a second.
# SIM_SEEDS: how many worlds at most for each (1000), CLUSTER_SEEDS: the same for clusters (40000). MUTANTS_TARGET: where to build
# (target/mutants/build), not the target directory of the repository itself: cargo tells the crates of a copy from those of the
# original by nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

readonly folders=("$PWD"/broker/core/tests/{sim,cluster}/mutants "$PWD/broker/tests/live/attacks/mutants")
readonly tree="$PWD/target/mutants/tree"
readonly log="$PWD/target/mutants/log"
export SIM_SEEDS="${SIM_SEEDS:-1000}" CLUSTER_SEEDS="${CLUSTER_SEEDS:-40000}" RUST_BACKTRACE=0 CARGO_TERM_COLOR=never
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
  [ "${#names[@]}" -gt 0 ] || mapfile -t names < <(find "${folders[@]}" -name '*.patch' -printf '%f\n' | sed 's/\.patch$//' | sort)
  copy
  for name in "${names[@]}"; do
    git -C "$tree" apply --check "$(patch_of "$name")" || { echo "$name: does not apply"; failed=1; }
  done
  [ -z "$only_check" ] || { [ "$failed" -eq 0 ] && echo "${#names[@]} mutants apply"; exit "$failed"; }
  [ "$failed" -eq 0 ] || exit 1
  for name in $(printf '%s\n' "${names[@]}" | while read -r name; do test_of "$name"; done | sort -u); do
    run "$name" || { tail -n 40 "$log"; echo "$name fails without any mutant"; exit 1; }
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
  printf '%s\n' "${folders[@]/%//$1.patch}" | while read -r patch; do [ ! -e "$patch" ] || echo "$patch"; done
}

# The test that a mutant is for.
test_of() {
  case "$(patch_of "$1")" in
    */attacks/mutants/*) echo "attacks::${1%%-*}" ;;
    */cluster/mutants/*) echo cluster_sim ;;
    *) echo sim ;;
  esac
}

run() {
  local test=(-p broker-core --test "$1")
  [[ "$1" != attacks::* ]] || test=(-p broker --test live "$1")
  (cd "$tree" && cargo test --locked "${test[@]}") >"$log" 2>&1
}

one() {
  local name="$1" began="$SECONDS" caught_by
  if run "$(test_of "$name")"; then
    echo "$name: NOT CAUGHT, $((SECONDS - began)) s"
    return 1
  fi
  caught_by="$(sed -n -e 's/^\(seed [0-9]*, \(step\|class\) [a-z0-9, ]*\):.*/\1/p' -e 's/^test \(attacks::.*\) \.\.\. FAILED$/\1/p' \
    "$log" | head -n 1)"
  if [ -z "$caught_by" ] && ! grep -q "^no world met" "$log"; then
    tail -n 40 "$log"
    echo "$name: does not build"
    return 1
  fi
  echo "$name: ${caught_by:-a rule that no world met}, $((SECONDS - began)) s"
}

main "$@"
