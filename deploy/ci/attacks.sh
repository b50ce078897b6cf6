#!/usr/bin/env bash
# Attacks the release binary for some minutes, each attack beside healthy clients, and prints a Markdown table of what was
# seen: for deploy/SECURITY.md. Exit code 1 if an attack did more than is promised there.
#
# Wants two CPUs or more: shards run on CPU 0, attackers and healthy clients on the others. Times are worth nothing on a
# machine that has other work. Arguments choose attacks by the names of their modules, such as
# `million`; `build` alone builds and attacks nobody.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

readonly log="${CARGO_TARGET_DIR:-$PWD/target}/ci/attacks.log"
export ATTACKS=full CARGO_TERM_COLOR=never
[ -n "$(command -v cargo)" ] || PATH="$HOME/.cargo/bin:$PATH"

main() {
  local cpus others=()
  cpus="$(nproc --all)"
  mkdir -p "$(dirname "$log")"
  cargo test --release --locked -p broker --test live --no-run
  [ "${1:-}" != build ] || return 0
  if [ "$cpus" -gt 1 ]; then
    others=(taskset -c "1-$((cpus - 1))")
  else
    echo "one CPU: attackers share it with the shard, times will be too long" >&2
  fi
  [ "$#" -gt 0 ] || set -- ""
  local code=0
  "${others[@]}" cargo test --release --locked -p broker --test live -- "${@/#/attacks::}" --test-threads 1 --nocapture \
    >"$log" 2>&1 || code=$?
  echo "| attack | rate | healthy p99, quiet | healthy p99, attacked | longest turn | shard busy | memory before / peak / after |"
  echo "|---|---|---|---|---|---|---|"
  # The test runner leaves a test's name in front of its first line.
  grep -o '| .* MiB |$' "$log" || true
  if [ "$code" -ne 0 ]; then
    grep -v '^| ' "$log" | tail -n 60
    echo "FAILED: see $log"
  fi
  return "$code"
}

main "$@"
