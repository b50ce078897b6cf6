#!/usr/bin/env bash
# Do a crate's own tests notice when its code is changed? The same sixty changes of it, before and after work on it.
#
#   deploy/ci/mutants.sh core|codec             # goes on where a run was stopped
#   deploy/ci/mutants.sh core 2/4               # the second quarter of the sixty; the results of all are in one file
#   rm -r target/mutants/core                   # gives up the run that was stopped
#
# cargo-mutants makes the changes and runs `cargo test -p` on each. The sixty are those whose file, function and change have
# the lowest hashes (mutants.py): code that moves, or is written beside them, leaves the choice as it is. Not among them:
# entries of fuzzers and `invariants`, which are tests themselves.
#
# A run is of the working tree as it is when the run begins. It ends when all sixty have a result in
# target/mutants/<crate>.tsv: `mutant <TAB> caught|missed|timeout|unviable <TAB> seconds`. The file of the run before is
# <crate>.before.tsv then: `diff` compares them. Unviable mutants do not compile; one that times out is noticed.
# Some 25 s for each mutant on two cores. Seeds of property tests are fixed; simulations run their usual seeds.
#
# Exit code 1 if a mutant is missed that mutants.txt does not accept with a reason, or accepted and not missed.
# MUTANTS_TARGET: where to build (target/mutants/build), never the target directory of the repository itself: cargo does
# not tell the crates of a copy from those of the original.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

readonly version=27.1.0
readonly tool="$PWD/target/tools/bin/cargo-mutants"
crate="${1:-}" shard="${2:-1/1}"
case "$crate" in
  core) package=broker-core ;;
  codec) package=heliograph-codec ;;
  *) echo "error: expected core or codec, as in: deploy/ci/mutants.sh codec" >&2; exit 2 ;;
esac
if ! [[ "$shard" =~ ^([1-9][0-9]?)/([1-9][0-9]?)$ ]] || [ "${BASH_REMATCH[1]}" -gt "${BASH_REMATCH[2]}" ]; then
  echo "error: $shard: expected SHARD/OF, 1/4 to 4/4 for quarters" >&2
  exit 2
fi
readonly folder="$PWD/target/mutants/$crate"
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0 RUST_BACKTRACE=0
# The same cases for each mutant, none left behind for the next one, and no search for a smaller one.
export PROPTEST_RNG_SEED=1 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true PROPTEST_MAX_SHRINK_ITERS=0

main() {
  local code=0
  install
  [ -e "$folder/list.json" ] || begin
  copy
  python3 deploy/ci/mutants.py next "$folder" "$shard" || return 0
  # 2 and 3: mutants were missed, or timed out.
  CARGO_TARGET_DIR="${MUTANTS_TARGET:-$PWD/target/mutants/build}" "$tool" mutants --dir "$folder/tree" --package "$package" \
    --output "$folder" --in-place --iterate --cargo-arg=--locked --minimum-test-timeout 240 --caught --unviable || code=$?
  case "$code" in
    0 | 2 | 3) ;;
    *) echo "error: cargo-mutants failed (exit $code); its logs: target/mutants/$crate/mutants.out/log" >&2; exit 1 ;;
  esac
}

install() {
  [ "$("$tool" --version 2>/dev/null)" = "cargo-mutants $version" ] ||
    cargo install --quiet --locked --root target/tools cargo-mutants --version "$version"
}

begin() {
  rm -rf "$folder"
  mkdir -p "$folder"
  git ls-files -z --cached --others --exclude-standard |
    tar --create --file "$folder/tree.tar" --null --ignore-failed-read --files-from - 2>/dev/null
  copy
  "$tool" mutants --dir "$folder/tree" --package "$package" --list --json >"$folder/list"
  [ ! -e "$folder.tsv" ] || mv "$folder.tsv" "$folder.before.tsv"
  mv "$folder/list" "$folder/list.json"
}

# A run that was stopped leaves a mutant in the copy. Files get the time of now: cargo builds what is younger than what it
# built.
copy() {
  rm -rf "$folder/tree"
  mkdir "$folder/tree"
  tar --extract --touch --file "$folder/tree.tar" --directory "$folder/tree"
}

main
python3 deploy/ci/mutants.py end "$folder"
