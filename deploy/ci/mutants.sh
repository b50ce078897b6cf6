#!/usr/bin/env bash
# Does the simulation notice when a rule of the broker is broken?
#
# usage: deploy/ci/mutants.sh [--check] [NAME…]       NAME is that of a patch, without .patch; default: all
#
# Each patch of broker/core/tests/sim/mutants breaks one rule, which its first line names. The last commit is copied to target/mutants,
# and there, for each patch: applied, built, simulated until a seed fails, taken back. Prints the seed that caught each mutant.
# Exit code 1 if one is not caught, does not apply, or does not build; or if a world fails without any.
# --check only looks whether all patches apply, which takes a second.
# SIM_SEEDS: how many worlds at most for each (400). MUTANTS_TARGET: where to build (target/mutants/build). Not the target directory of
# the repository itself: cargo tells the crates of a copy from those of the original by nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

readonly patches="$PWD/broker/core/tests/sim/mutants"
readonly tree="$PWD/target/mutants/tree"
readonly log="$PWD/target/mutants/log"
export SIM_SEEDS="${SIM_SEEDS:-400}" RUST_BACKTRACE=0 CARGO_TERM_COLOR=never
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
  [ "${#names[@]}" -gt 0 ] || mapfile -t names < <(cd "$patches" && printf '%s\n' *.patch | sed 's/\.patch$//')
  copy
  for name in "${names[@]}"; do
    git -C "$tree" apply --check "$patches/$name.patch" || { echo "$name: does not apply"; failed=1; }
  done
  [ -z "$only_check" ] || { [ "$failed" -eq 0 ] && echo "${#names[@]} mutants apply"; exit "$failed"; }
  [ "$failed" -eq 0 ] || exit 1
  simulate || { tail -n 40 "$log"; echo "a world fails without any mutant"; exit 1; }
  for name in "${names[@]}"; do
    git -C "$tree" apply "$patches/$name.patch"
    one "$name" || failed=1
    git -C "$tree" apply -R "$patches/$name.patch"
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

simulate() {
  (cd "$tree" && cargo test --locked -p broker-core --test sim) >"$log" 2>&1
}

one() {
  local name="$1" began="$SECONDS" seed
  if simulate; then
    echo "$name: NOT CAUGHT by $SIM_SEEDS seeds, $((SECONDS - began)) s"
    return 1
  fi
  seed="$(sed -n 's/^seed \([0-9]*\), step \([0-9]*\):.*/seed \1, step \2/p' "$log" | head -n 1)"
  if [ -z "$seed" ] && ! grep -q "^no world met" "$log"; then
    tail -n 40 "$log"
    echo "$name: does not build"
    return 1
  fi
  echo "$name: ${seed:-a rule that no world met}, $((SECONDS - began)) s"
}

main "$@"
