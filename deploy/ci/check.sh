#!/usr/bin/env bash
# The gate: what CI runs and what a developer runs. Installs what the tests need, then passes them.
#
#   deploy/ci/check.sh              the gate
#   deploy/ci/check.sh --all        the gate and the long checks; writes the stamps of these
#   deploy/ci/check.sh --step NAME  one step of either; writes its stamp if it is a long check
#   deploy/ci/check.sh --list       all steps with the seconds of their last runs
#
# Requires Debian 12, Rust by rustup, and the registries of Debian, crates, PyPI and npm; root only if a Debian package is
# missing. Leaves nothing outside target/ and the package caches, except the stamps; a second run installs nothing.
# Each step prints its time; the first that fails ends the run with its output and exit code 1. The last line sums up
# what every test runner counted, what tests reported as skipped, and the long checks that were not run.
#
# Each step has a limit in seconds, for a machine with two quiet cores. A fixed piece of work is timed first, and on a
# slower or busier machine all limits are multiplied; CHECK_SLOW=3 multiplies them by three at least. What was built and
# what had passed before a step ran out of time is kept: the next run on the same files goes on with that step.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

readonly target="${CARGO_TARGET_DIR:-$PWD/target}"
readonly clients="$PWD/target/clients"   # broker/tests/live/clients/mod.rs looks here
readonly logs="$target/ci"
readonly unfinished="$logs/unfinished"   # an identifier of the tested files, then the steps that have passed
readonly times="$logs/times"             # a step, a tab, the seconds of its last run
# Registries have bad moments: each installer tries a download again by itself. What fails otherwise would fail again.
export CARGO_NET_RETRY=5 PIP_RETRIES=5 npm_config_fetch_retries=3 npm_config_fetch_retry_mintimeout=2000
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
export HELIOGRAPH_CLIENTS="$clients"
[ -n "$(command -v cargo)" ] || PATH="$HOME/.cargo/bin:$PATH"
. deploy/ci/install.sh
. deploy/ci/stamps.sh

# Packages whose tests the gate runs: together, so that all steps share what is built.
readonly tested=(--workspace --exclude benches --exclude etcd-generator --exclude documents)
# Ignored tests that the gate runs, beside all that are not ignored, by parts of their names. The long check beside each step
# runs the rest.
readonly gate_clients=(
  ::signed wrong_and_temporary_keys faults_of_ clients::moto pytest_plugin node_helper cluster_of_javascript clients::hosts
  clients::things clients::blocks::readme client_coturn::credentials hooks::bridge hooks::wakes web_identity
)
readonly gate_browsers=(client_browser::console_of_a_healthy_broker client_browser::try_page_in_one_browser)
readonly gate_etcd=(
  claims::one_node claims::three_nodes_share claims::a_node_that_joins history::an_etcd_that_was_emptied
  identity::a_node_with_another_secret faults::the_slots_of_a_lost_host_are_served_elsewhere_within records::changes_of_a_name
)
readonly gate_clusters=(
  cluster_etcd::front::a_drain cluster_etcd::moves::the_channels_of_a_node_that_is_killed cluster_etcd::trouble::without_etcd
  cluster_etcd::meeting::who_is_connected cluster_commands::commands
)
readonly gate_hosts=(
  cluster_netns::hosts::channels_of_a_host cluster_netns::cuts::a_node_that_nobody_answers
  cluster_netns::silent::clients_of_a_node_that_hangs
  delivery_netns::cuts::a_camera_that_is_back_soon delivery_netns::roaming delivery_netns::radio
)
# Tests that the gate runs on epoll as well as on io_uring. HELIOGRAPH_TEST_ENGINE=epoll cargo test runs all that need
# nothing installed.
readonly gate_epoll=(
  edge_live:: cli::doctor cli::signals lifecycle::drain lifecycle::idle cluster::meeting cluster::streams service::session
  bad::slow_reader deploy::confined
)
readonly service_files="codec/src broker/core/src broker/ring/src broker/mailbox/src broker/src Cargo.lock"   # inputs of long checks
readonly cluster_files="$service_files broker/etcd/src broker/etcd/tests broker/link/src"

# gate LIMIT NAME COMMAND…           a step of the gate; `beside` starts it, and `together` awaits those
# long LIMIT NAME INPUTS COMMAND…    a long check; its stamp holds while these paths are as they were: see stamps.sh
steps() {
  gate 600 debian-packages debian_packages
  beside 300 python-clients python_clients
  beside 300 node-clients node_clients
  gate 600 crates cargo fetch --locked
  gate 60 format cargo fmt --all --check
  gate 60 stamps stamps
  gate 60 rules rules
  gate 600 lints cargo clippy --workspace --all-targets --locked -- -D warnings
  gate 900 build cargo test --locked "${tested[@]}" --no-run
  together
  gate 600 tests cargo test --locked "${tested[@]}" --no-fail-fast -- --show-output
  gate 120 supply-chain cargo test --locked "${tested[@]}" --test checks -- --include-ignored --nocapture supply::
  gate 120 signature-of-botocore cargo test --locked "${tested[@]}" --test wire -- --ignored
  beside 300 epoll on_epoll "${gate_epoll[@]}"
  gate 600 clients ignored live 6 "${gate_clients[@]}"
  gate 300 browsers ignored live 2 "${gate_browsers[@]}"
  beside 600 etcd ignored etcd 4 "${gate_etcd[@]}"
  beside 600 clusters ignored live 3 "${gate_clusters[@]}"
  beside 600 hosts ignored live 3 "${gate_hosts[@]}"
  beside 600 short-fuzz fuzz "${FUZZ_RUNS:-200000}"
  beside 600 short-simulation simulation "${SIM_SEEDS:-1000}" "${CLUSTER_SEEDS:-2000}"
  together

  long 300 wake-protocol "exact broker/mailbox" model
  long 120 generated-code "broker/etcd/proto broker/etcd/src/rpc/generated.rs broker/etcd/generator" cargo test --locked -p etcd-generator
  long 900 all-shard-counts "$service_files broker/tests/live" ignored live 8 ::one_shard:: ::four_shards::
  long 1800 all-clients "$service_files broker/tests/live/clients deploy/conformance deploy/testing" \
    with gstreamer_packages ignored live 6 clients:: client_coturn:: "${gate_clients[@]/#/--skip=}" --skip clients::blocks
  long 600 all-proxies "$service_files broker/tests/live/proxies.rs deploy/proxy" ignored live 4 proxies::
  long 1800 all-on-epoll "$service_files broker/tests/live" on_epoll
  long 1800 old-kernel "broker/ring deploy/ci/old_kernel.sh" with emulator_packages deploy/ci/old_kernel.sh
  long 1800 arm64 "broker/ring deploy/ci/arm64.sh" with emulator_packages deploy/ci/arm64.sh io_uring epoll
  long 900 all-pages "README.md deploy/*.md deploy/testing deploy/broker.toml broker/src/config broker/src/config.rs broker/tests/live/clients/blocks*" ignored live 2 clients::blocks --skip readme
  long 900 all-browsers "$service_files broker/console broker/tests/live/client_browser.rs deploy/conformance/browser" \
    with browser_packages ignored live 2 client_browser:: "${gate_browsers[@]/#/--skip=}"
  long 900 all-etcd "$cluster_files" ignored etcd 6 "${gate_etcd[@]/#/--skip=}"
  long 900 all-clusters "$cluster_files broker/tests/live/cluster_etcd" \
    ignored live 2 cluster_etcd:: cluster_commands:: "${gate_clusters[@]/#/--skip=}"
  long 1200 all-hosts "$cluster_files broker/tests/live/cluster_netns broker/tests/live/delivery_netns" \
    ignored live 3 cluster_netns:: delivery_netns:: "${gate_hosts[@]/#/--skip=}"
  long 900 long-fuzz "codec broker/etcd/src broker/src broker/core/src/registry.rs loadgen" fuzz 2000000
  long 900 long-simulation "codec/src broker/core" simulation 3000 10000
  long 1200 benches "$service_files benches" cargo test --locked -p benches --lib --benches
  long 4500 packages "exact deploy/packages deploy/release.sh Cargo.toml Cargo.lock broker/build.rs" packages
}

# A long check behind the installer of what it alone needs.
with() {
  "$1"
  shift
  "$@"
}

# Ignored tests of a program by parts of their names, so many at a time.
ignored() {
  local program="$1" at_once="$2"
  shift 2
  cargo test --locked "${tested[@]}" --test "$program" -- --ignored --show-output --test-threads "$at_once" "$@"
}

# Tests by parts of their names, or all, with every broker and every shard on epoll.
on_epoll() {
  HELIOGRAPH_TEST_ENGINE=epoll cargo test --locked "${tested[@]}" --no-fail-fast --test checks --test live -- --show-output "$@"
}

rules() {
  python3 deploy/ci/rules.py --selftest
  python3 deploy/ci/rules.py --check
}

# Every interleaving of posting and falling asleep; the bound keeps loom's search within a minute.
model() {
  LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}" RUSTFLAGS="--cfg model" \
    cargo test -p heliograph-mailbox --locked --lib --target-dir "$target/model"
}

# Steps beside them come first; at a nicer level than this, whatever else the machine does would leave it nothing. What reads
# files is not optimised in tests: a tenth as often.
fuzz() {
  FUZZ_RUNS="$1" nice -n 5 cargo test --locked "${tested[@]}" --test wire --test etcd fuzz::
  FUZZ_RUNS="$(($1 / 10))" nice -n 5 cargo test --locked "${tested[@]}" --lib --test load fuzz::
}

simulation() {
  SIM_SEEDS="$1" CLUSTER_SEEDS="$2" nice -n 5 cargo test --locked "${tested[@]}" --test behaviour worlds
}

# Optimised, each program by itself, as a user builds them. An image has files of root.
packages() {
  local image=image
  [ "$(id -u)" -eq 0 ] || image=
  # shellcheck disable=SC2086
  deploy/release.sh tools binary book deb wheel npm $image sums
  cargo test --locked -p documents
  cargo test --locked "${tested[@]}" --test checks -- --ignored --show-output --test-threads 1 packages::
}

# Whether the long checks are recent enough for these files; and whether that would be noticed.
stamps() {
  deploy/ci/stamps_test.sh
  git rev-parse HEAD >/dev/null 2>&1 || { echo "skipped: stamps of long checks, without a repository"; return; }
  mode=judge
  steps
  [ "$judged" -eq 0 ] || exit 1
}

mode=gate   # gate, all, list, one (--step), judge (stamps), ages (the last lines)
only=""     # the step that --step names
judged=0 old_checks=0
ran=() waiting=()

main() {
  case "$*" in
    "") ;;
    --all) mode=all ;;
    --list) mode=list ;;
    "--step "?*) mode=one only="$2" ;;
    *) echo "error: $*: expected nothing, --all, --list, or --step NAME"; exit 2 ;;
  esac
  mkdir -p "$logs" "$clients"
  if [ "$mode" = list ]; then
    printf '%-24s%-6s%8s\n' step in seconds
    steps
    return
  fi
  begin
  GLOMMIO_LIBURING_DIR="$(deploy/ci/liburing.sh)"
  export GLOMMIO_LIBURING_DIR
  steps
  if [ "$mode" = one ] && [ "${#ran[@]}" -eq 0 ]; then
    echo "error: no step \"$only\"; expected one of:"
    mode=list
    steps
    exit 2
  fi
  [ "$mode" = one ] || rm -f "$unfinished"
  echo "all steps: ${SECONDS} s"
  if [ "$mode" = gate ] && git rev-parse HEAD >/dev/null 2>&1; then
    mode=ages
    steps
  fi
  counts
}

# Sets the factor of the limits, and takes up a run on the same files that ran out of time.
begin() {
  local tenths
  [[ "${CHECK_SLOW:-1}" =~ ^[1-9][0-9]?$ ]] || { echo "CHECK_SLOW=$CHECK_SLOW: expected 1 to 99"; exit 1; }
  tenths="$(slowness)"
  slow=$(((tenths + 9) / 10))
  [ "$slow" -ge "${CHECK_SLOW:-1}" ] || slow="${CHECK_SLOW:-1}"
  echo "this machine takes $(tenfold "$tenths") times as long as two quiet cores: limits of steps are multiplied by $slow"
  [ "$mode" != one ] || return 0
  files="$(state)"
  if [ "$(head -n 1 "$unfinished" 2>/dev/null)" = "$files" ]; then
    echo "going on where the run before ran out of time"
  else
    rm -f "$logs"/*.log
    printf '%s\n' "$files" >"$unfinished"
  fi
}

# In tenths, how much longer a fixed piece of work takes than on two quiet cores; 10 at least.
slowness() {
  local started ended quiet=2300000
  started="${EPOCHREALTIME/[^0-9]/}"
  for _ in 1 2; do
    for ((i = 0; i < 2000000; i++)); do :; done &
  done
  wait
  ended="${EPOCHREALTIME/[^0-9]/}"
  echo $((ended - started > quiet ? (ended - started) * 10 / quiet : 10))
}

tenfold() {
  echo "$(($1 / 10)).$(($1 % 10))"
}

# An identifier of the tested files: the commit and what differs from it, else one that no other run has.
state() {
  if git rev-parse HEAD >/dev/null 2>&1; then
    { echo "$mode"; git rev-parse HEAD; git diff HEAD -- ':!deploy/ci/long.tsv'; git ls-files -z --others --exclude-standard | xargs -0 -r sha256sum; } | sha256sum
  else
    echo "$$ $EPOCHREALTIME"
  fi
}

gate() {
  case "$mode" in
    list) row "$2" gate "$(last_time "$2")" ;;
    one) [ "$2" != "$only" ] || run "$@" ;;
    gate | all) run "$@" ;;
  esac
}

beside() {
  case "$mode" in
    gate | all) passed_before "$2" || crowd=3 start "$@" ;;
    *) gate "$@" ;;
  esac
}

together() {
  local name code=0
  for name in "${waiting[@]}"; do
    wait "${pids[$name]}" || true
    finish "$name" || code=1
  done
  waiting=()
  [ "$code" -eq 0 ] || exit 1
}

long() {
  local limit="$1" name="$2" inputs="$3"
  shift 3
  case "$mode" in
    list) row "$name" all "$(awk -F '\t' -v name="$name" '$1 == name { print $4 }' "$stamps" 2>/dev/null)" ;;
    judge) judge_stamp "$name" "$inputs" || { judged=1; echo "  run it: deploy/ci/check.sh --step $name"; } ;;
    ages) echo "skipped: $(judge_stamp "$name" "$inputs")"; old_checks=$((old_checks + 1)) ;;
    one) [ "$name" != "$only" ] || stamped "$limit" "$name" "$inputs" "$@" ;;
    all) stamped "$limit" "$name" "$inputs" "$@" ;;
  esac
}

# Runs a long check and writes its stamp.
stamped() {
  local limit="$1" name="$2" inputs=() hash="" count
  read -ra inputs <<<"${3#exact }"
  shift 3
  ! git rev-parse HEAD >/dev/null 2>&1 || hash="$(inputs_hash "${inputs[@]}")"
  run "$limit" "$name" "$@"
  read -ra count < <(count_logs "$logs/$name.log")
  [ -n "$hash" ] && [ "${count[1]}" -gt 0 ] || return 0
  write_stamp "$name" "$hash" "$(last_time "$name")" "${count[1]}" "${count[3]}" "${inputs[@]}"
}

run() {
  passed_before "$2" && return
  start "$@"
  wait "${pids[$2]}" || true
  unset "waiting[-1]"
  finish "$2" || { wait; exit 1; }
}

passed_before() {
  [ "$mode" != one ] && tail -n +2 "$unfinished" | grep -qxF "$1" || return 1
  ran+=("$1")
  echo "ok: $1, in the run before"
}

declare -A pids limits

# Starts a step, whose output goes into a log. Tests that measure what a quiet machine must keep to are told how busy it is.
start() {
  local name="$2"
  limits[$name]=$(($1 * slow))
  shift 2
  (
    started="$SECONDS" code=0
    export HELIOGRAPH_TESTS_SLOW=$((slow * ${crowd:-1}))
    bounded "${limits[$name]}" "$@" >"$logs/$name.log" 2>&1 || code=$?
    echo "$code $((SECONDS - started))" >"$logs/$name.end"
  ) &
  pids[$name]=$!
  waiting+=("$name")
  ran+=("$name")
}

# Reports a step that has ended; exit code 1 if it failed.
finish() {
  local name="$1" code seconds
  read -r code seconds <"$logs/$name.end"
  rm "$logs/$name.end"
  if [ "$code" -eq 0 ]; then
    [ "$mode" = one ] || printf '%s\n' "$name" >>"$unfinished"
    { grep -v "^$name"$'\t' "$times" 2>/dev/null || true; printf '%s\t%s\n' "$name" "$seconds"; } >"$times.new"
    mv "$times.new" "$times"
    echo "ok: $name, $seconds s"
    sed -n 's/^supply: /    /p' "$logs/$name.log"
    return
  fi
  failures "$logs/$name.log"
  echo "FAILED: $name (exit $code) after $seconds s; alone: deploy/ci/check.sh --step $name"
  # 137: it went on after the signal that says so, and was killed.
  case "$code" in
    124 | 137) ran_out "${limits[$name]}" ;;
    *) [ "$mode" = one ] || rm -f "$unfinished" ;;
  esac
  return 1
}

row() {
  printf '%-24s%-6s%8s\n' "$1" "$2" "${3:--}"
}

last_time() {
  awk -F '\t' -v name="$1" '$1 == name { print $2 }' "$times" 2>/dev/null || true
}

# A log without the output of tests that passed, which may be long and look like failures. Last the panics of failed tests
# again, between which and the end are the logs of their brokers, and how to run each such test alone.
failures() {
  local text
  text="$(awk '
    /^test .* \.\.\. (ok|ignored.*)$/ { next }
    /^successes:$/ { passed = 1 }
    /^(failures:|test result: .*)$/ { passed = 0 }
    !passed
  ' "$1")"
  printf '%s\nall of it: %s\n' "$text" "${1#"$PWD"/}"
  grep -E '^test .* has been running for over 60 seconds$' "$1" || true
  grep -A 4 -E "^thread '.*panicked at " <<<"$text" | grep -v '^note: ' || true
  awk '
    /^ *Running (unittests )?[^ ]+ \(/ {
      program = $NF; gsub(/^\(.*\/|-[0-9a-f]+\)$/, "", program)
      kind = "--test " program
      if ($2 == "unittests") {
        gsub(/_/, "-", program)
        if (program ~ /^(codec|link|mailbox|ring|store)$/) program = "heliograph-" program
        kind = "-p " program " --lib"
      }
    }
    /^ *Doc-tests / { kind = "-p " $2 " --doc"; gsub(/_/, "-", kind) }
    /^test .* \.\.\. FAILED$/ { print "failed: " $2 "; alone: cargo test --locked " kind (kind ~ / --doc$/ ? "" : " -- --include-ignored --exact " $2) }
  ' "$1"
}

# What to do about a step that was not done in time.
ran_out() {
  local tenths
  tenths="$(slowness)"
  echo "not done within $1 s, the limit of this step times $slow."
  if [ "$tenths" -gt 13 ]; then
    echo "The machine is busy or slow: it takes $(tenfold "$tenths") times as long as two quiet cores."
  else
    echo "The machine is quick enough at this moment: it was busy before, or the step hangs; its output is above."
  fi
  echo "A second run goes on with this step, with what is built so far. CHECK_SLOW=$((slow * 3)) deploy/ci/check.sh gives it more time."
}

# `timeout` starts programs, not functions: a function is run by a shell that reads this file again.
bounded() {
  local seconds="$1"
  shift
  if [ "$(type -t "$1")" = function ]; then
    timeout --kill-after=10 "$seconds" env HELIOGRAPH_STEP=1 bash deploy/ci/check.sh "$@"
  else
    timeout --kill-after=10 "$seconds" "$@"
  fi
}

# The last line, over the steps of this run and the long checks that it left out.
counts() {
  local files=("${ran[@]/#/$logs/}") count
  read -ra count < <(count_logs "${files[@]/%/.log}")
  echo "${count[1]} passed, ${count[2]} failed, $((count[3] + old_checks)) skipped"
}

# Prints `tests`, how many passed, failed, and were skipped.
count_logs() {
  cat "$@" | awk '
    /^test result:/ { for (i = 1; i < NF; i++) { if ($(i + 1) == "passed;") passed += $i; if ($(i + 1) == "failed;") failed += $i } }
    /^skipped: / { skipped++ }
    END { printf "tests %d %d %d\n", passed, failed, skipped }'
}

if [ -n "${HELIOGRAPH_STEP:-}" ]; then
  unset HELIOGRAPH_STEP
  "$@"
else
  main "$@"
fi
