#!/usr/bin/env bash
# The figures of the tree's shape (circles of files, functions with many parts, lines), beside those of an earlier commit.
#
# usage: deploy/ci/figures.sh [COMMIT]       prints a table in Markdown; with COMMIT two columns, that commit's first
#
# Both trees are read by the rules of this one: broker/tests/tidy/figures.rs.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

readonly build="$PWD/target/figures"

main() {
  local name value
  mkdir -p "$build"
  declare -A before=()
  if [ -n "${1:-}" ]; then
    rm -rf "$build/tree"
    mkdir "$build/tree"
    git archive "$1" | tar -x -C "$build/tree"
    while IFS='|' read -r name value; do before["$name"]="$value"; done < <(figures "$build/tree")
    printf '| figure | %s | now |\n|---|---|---|\n' "$(git rev-parse --short "$1")"
  else
    printf '| figure | now |\n|---|---|\n'
  fi
  while IFS='|' read -r name value; do
    printf '| %s |%s %s |\n' "$name" "${1:+ ${before[$name]:-} |}" "$value"
  done < <(figures "$PWD")
}

# One line a figure, `name|value`, of the tree in this folder.
figures() {
  CARGO_MANIFEST_DIR="$1/broker" rustc --edition 2024 --test broker/tests/tidy.rs -o "$build/tidy"
  (cd "$1/broker" && "$build/tidy" figures::figures --ignored --exact --nocapture) | sed -n 's/^figure|//p'
}

main "$@"
