#!/usr/bin/env bash
# Attacks the release binary for some minutes, each attack beside healthy clients, and prints a Markdown table of what was
# seen: for deploy/SECURITY.md. Exit code 1 if an attack did more than is promised there.
#
# Wants two CPUs or more: shards run on CPU 0, attackers and healthy clients on the others; a reader of the CPU clock runs
# on each while it is idle. Whatever else the machine does, its hypervisor included, only makes times longer; so an attack
# with a time above its bound is run again, and has failed when the bound is exceeded in each of ATTACKS_ROUNDS (3) rounds.
# What counts messages, bytes or connections fails at once.
# Arguments choose attacks by the names of their modules, such as `million`; `build` alone builds and attacks nobody.
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
  rm -f "$log".[1-9]
  cargo test --profile dist --locked -p broker --test live --no-run
  [ "${1:-}" != build ] || return 0
  if [ "$cpus" -gt 1 ]; then
    others=(taskset -c "1-$((cpus - 1))")
  else
    echo "one CPU: attackers share it with the shard, times will be too long" >&2
  fi
  [ "$#" -gt 0 ] || set -- ""
  local code=0 round rounds="${ATTACKS_ROUNDS:-3}" late=()
  set -- "${@/#/attacks::}"
  for ((round = 1; round <= rounds; round++)); do
    "${others[@]}" cargo test --profile dist --locked -p broker --test live -- "$@" --skip attacks::selftest --test-threads 1 \
      --nocapture >"$log.$round" 2>&1 || code=$?
    # The test runner leaves a test's name in front of its first line.
    mapfile -t late < <(grep -o 'late attacks::[a-z_:]*' "$log.$round" | cut -d ' ' -f 2 | sort -u)
    [ "$code" -eq 0 ] && [ "${#late[@]}" -gt 0 ] || break
    grep -o 'late attacks::.*' "$log.$round" | sed "s/^late /round $round: /" >&2
    set -- "${late[@]}" --exact
  done
  echo "| attack | rate | p99 of healthy relay / connect / describe / list, quiet | attacked | longest turn |" \
    "turns above 8 ms | shard busy | memory before / peak / after |"
  echo "|---|---|---|---|---|---|---|---|"
  rows "$log".[1-9]
  if [ "$code" -ne 0 ]; then
    grep -hv '^| ' "$log".[1-9] | tail -n 60
    echo "FAILED: see $log.*"
  elif [ "${#late[@]}" -gt 0 ]; then
    code=1
    echo "FAILED: times above their bounds in $rounds rounds: ${late[*]}"
  fi
  return "$code"
}

# The rows of each test from the last round that ran it.
rows() {
  grep -Ho 'row attacks::.* MiB |$' "$@" | awk '
    { file = $1; sub(/:row$/, "", file); test = $2 }
    last[test] != file { last[test] = file; table[test] = ""; if (!(test in place)) { place[test] = ++tests; name[tests] = test } }
    { sub(/^[^|]*/, ""); table[test] = table[test] $0 "\n" }
    END { for (at = 1; at <= tests; at++) printf "%s", table[name[at]] }'
}

main "$@"
