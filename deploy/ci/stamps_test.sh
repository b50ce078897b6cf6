#!/usr/bin/env bash
# Tests stamps.sh in a repository of its own: stamps that are fine, old, absent, of skipped tests and of changed files.
set -euo pipefail
. "$(dirname "$0")/stamps.sh"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
cd "$work/tree"
stamps="$work/stamps.tsv"
git init --quiet
git config user.name test
git config user.email test@example.invalid

commit() {   # DAY TEXT
  printf '%s\n' "$2" >input
  printf '%s %s\n' "$1" "$RANDOM$RANDOM" >other
  git add .
  GIT_COMMITTER_DATE="2026-01-$1T12:00:00Z" git commit --quiet --message "$2"
}

expect() {   # CODE TEXT INPUTS
  local code=0 said
  said="$(judge_stamp step "$3")" || code=$?
  [ "$code" = "$1" ] && [[ "$said" == *"$2"* ]] || { echo "expected exit $1 with \"$2\", got exit $code: $said"; exit 1; }
}

commit 01 one
expect 1 "no stamp" input
write_stamp step "$(inputs_hash input)" 5 3 0 input
expect 0 "inputs unchanged" input
commit 28 one
expect 0 "inputs unchanged" input
expect 0 "inputs unchanged" "exact input"
git reset --quiet --hard HEAD~1
commit 07 two
expect 0 "inputs changed since, 1 commits ago" input
expect 1 "its inputs changed" "exact input"
commit 09 three
expect 1 "8 days" input
git reset --quiet --hard HEAD~1
for _ in $(seq 150); do commit 07 more; done
expect 1 "151 commits" input
git reset --quiet --hard HEAD~150
write_stamp step "$(inputs_hash input)" 5 3 1 input
expect 1 "skipped 1" input
write_stamp step "$(inputs_hash input)" 5 0 0 input
expect 1 "passed 0 tests" input
[[ "$(write_stamp step other 5 3 0 input)" == *"not committed"* ]] || { echo "files that changed meanwhile were stamped"; exit 1; }
printf 'four\n' >input
[[ "$(write_stamp step "$(inputs_hash input)" 5 3 0 input)" == *"not committed"* ]] || { echo "files that are not committed were stamped"; exit 1; }
printf 'step\tdeadbeef\n' >"$stamps"
expect 1 "no stamp" input
echo "stamps: 13 cases"
