#!/usr/bin/env bash
# The one command: what CI runs and what a developer runs. Installs what the tests need, then passes them.
#
# Wants Debian 12, Rust by rustup, and the registries of Debian, crates, PyPI and npm; root only if a Debian package is
# missing. Leaves nothing outside target/ and the package caches; a second run installs nothing.
# Each step prints its time; the first that fails ends the run with its output and exit code 1. The last line sums up
# what every test runner counted, and what tests said that they skipped.
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
readonly unfinished="$logs/unfinished"   # a name of the files that are tested, then the steps that have passed
# Registries have bad moments: each installer tries a download again by itself. What fails otherwise would fail again.
export CARGO_NET_RETRY=5 PIP_RETRIES=5 npm_config_fetch_retries=3 npm_config_fetch_retry_mintimeout=2000
readonly apt=(apt-get --quiet -o Acquire::Retries=5)
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
export HELIOGRAPH_CLIENTS="$clients"
[ -n "$(command -v cargo)" ] || PATH="$HOME/.cargo/bin:$PATH"

main() {
  mkdir -p "$logs" "$clients"
  begin
  step 600 "install: Debian packages" debian_packages
  step 300 "install: Python clients" python_clients
  step 300 "install: node clients" node_clients
  step 600 "install: crates" cargo fetch --locked
  # The whole workspace in each step that builds, so that dependencies have the same features and are built once.
  step 60 "format" cargo fmt --all --check
  step 60 "mutants apply" deploy/ci/mutants.sh --check
  step 900 "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
  step 1800 "tests" env RUST_TEST_THREADS="$at_once" cargo test --no-fail-fast --workspace --locked --lib --bins --examples --tests -- --show-output
  step 300 "supply chain" cargo test --workspace --locked --test supply -- --include-ignored --nocapture
  sed -n 's/^supply: /    /p' "$logs/supply-chain.log"
  # By name: other ignored tests are started by tests of their own, under limits that they set.
  step 900 "tests with real clients" cargo test --workspace --locked --test live -- --ignored clients:: client_coturn:: hooks::bridge:: hooks::wakes:: \
    signed::web_identity::
  # Each is a browser, which wants a core for itself.
  step 600 "tests with a real browser" cargo test --workspace --locked --test live -- --ignored client_browser:: --test-threads $((at_once / 2))
  # Each waits for leases to end, and is idle meanwhile.
  step 900 "tests with etcd" cargo test --workspace --locked --test etcd -- --ignored --show-output --test-threads $((at_once * 3 / 2))
  step 900 "tests of clusters" cargo test --workspace --locked --test live -- --ignored --show-output cluster_etcd:: --test-threads 2
  # The same, on hosts of their own: their network is root's.
  step 900 "tests of clusters on hosts that fail" cargo test --workspace --locked --test live -- --include-ignored --show-output cluster_netns:: --test-threads 3
  step 300 "signatures of a real client" cargo test --workspace --locked --test sigv4 -- --ignored
  step 300 "documentation tests" cargo test --workspace --locked --doc
  step 300 "model of the wake protocol" model
  step 300 "fuzz, short" env FUZZ_RUNS="${FUZZ_RUNS:-2000000}" cargo test --workspace --locked --test fuzz
  step 300 "simulation, short" env SIM_SEEDS="${SIM_SEEDS:-3000}" cargo test --workspace --locked --test sim
  step 300 "simulation of clusters, short" env CLUSTER_SEEDS="${CLUSTER_SEEDS:-5000}" cargo test --workspace --locked --test cluster_sim
  step 600 "benches, each once" cargo test --workspace --locked --bench '*'
  # Optimised, each program by itself, as a user builds them.
  step 900 "packages: tools" deploy/release.sh tools
  step 1800 "packages: programs" deploy/release.sh binary
  step 600 "packages: files" packages
  step 600 "tests of packages" cargo test --workspace --locked --test packages -- --ignored --show-output --test-threads 1
  rm -f "$unfinished"
  echo "all steps: ${SECONDS} s"
  counts
}

# Sets the factor of the limits and the number of tests at a time, and takes up a run on the same files that ran out of
# time.
begin() {
  local tenths
  [[ "${CHECK_SLOW:-1}" =~ ^[1-9][0-9]?$ ]] || { echo "CHECK_SLOW=$CHECK_SLOW: allowed 1 to 99"; exit 1; }
  tenths="$(slowness)"
  slow=$(((tenths + 9) / 10))
  [ "$slow" -ge "${CHECK_SLOW:-1}" ] || slow="${CHECK_SLOW:-1}"
  # Most tests wait for their brokers: one on each of two cores leaves these idle for two thirds of the time. That is so
  # on machines that are three times as slow.
  at_once="$(nproc)"
  [ "$slow" -gt 3 ] || [ "$at_once" -ge 4 ] || at_once=4
  at_once=$((at_once < 2 ? 2 : at_once > 8 ? 8 : at_once))
  [ "$slow" -eq 1 ] || echo "this machine needs $(times "$tenths") the time of two quiet cores: limits of steps are multiplied by $slow"
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

times() {
  echo "$(($1 / 10)).$(($1 % 10)) times"
}

# A name for the files that are tested: the commit and what differs from it, else one that no other run has.
state() {
  if git rev-parse HEAD >/dev/null 2>&1; then
    { git rev-parse HEAD; git diff HEAD; git ls-files -z --others --exclude-standard | xargs -0 -r sha256sum; } | sha256sum
  else
    echo "$$ $EPOCHREALTIME"
  fi
}

# Runs a command within this many seconds, its output in a log that is shown if it fails.
step() {
  local seconds=$(($1 * slow)) name="$2" log started="$SECONDS" code=0
  log="$logs/$(printf '%s' "$name" | tr -c 'a-zA-Z0-9\n' '-').log"
  shift 2
  if tail -n +2 "$unfinished" | grep -qxF "$name"; then
    echo "ok: $name, in the run before"
    return
  fi
  bounded "$seconds" "$@" >"$log" 2>&1 || code=$?
  if [ "$code" -eq 0 ]; then
    printf '%s\n' "$name" >>"$unfinished"
    echo "ok: $name, $((SECONDS - started)) s"
    return
  fi
  failures "$log"
  echo "FAILED: $name (exit $code) after $((SECONDS - started)) s"
  # 137: it went on after the signal that says so, and was killed.
  case "$code" in
    124 | 137) ran_out "$seconds" ;;
    *) rm -f "$unfinished" ;;
  esac
  exit 1
}

# A log without the output of tests that passed, which may be long and look like failures. Last the names of failed tests
# and their panics again, between which and the end are the logs of their brokers.
failures() {
  local text
  text="$(awk '
    /^test .* \.\.\. (ok|ignored.*)$/ { next }
    /^successes:$/ { passed = 1 }
    /^(failures:|test result: .*)$/ { passed = 0 }
    !passed
  ' "$1")"
  printf '%s\nall of it: %s\n' "$text" "${1#"$PWD"/}"
  grep -E '^test .* (FAILED|has been running for over 60 seconds)$' "$1" || true
  grep -A 4 -E "^thread '.*panicked at " <<<"$text" | grep -v '^note: ' || true
}

# What to do about a step that was not done in time.
ran_out() {
  local tenths
  tenths="$(slowness)"
  echo "not done within $1 s, the limit of this step times $slow."
  if [ "$tenths" -gt 13 ]; then
    echo "The machine is busy or slow: it needs $(times "$tenths") the time of two quiet cores."
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

debian_packages() {
  local missing=() package
  bash deploy/packages/debian.sh
  for package in git build-essential; do   # glommio builds its liburing with make and a C compiler, aws-lc with the compiler
    dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
  done
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
  node_is_recent || missing+=(nodejs)
  [ -n "$(command -v npm)" ] || missing+=(npm)
  [ -n "$(command -v turnserver)" ] || missing+=(coturn)
  [ -n "$(command -v chromium)" ] || missing+=(chromium)
  [ -n "$(command -v promtool)" ] || missing+=(prometheus)   # it checks metrics, rules and alerts
  [ -n "$(command -v strace)" ] || missing+=(strace)   # a slow disk in the live tests
  [ -n "$(type -P kill)" ] || missing+=(procps)        # a shell has a kill of its own, a test has not
  [ -n "$(command -v curl)" ] || missing+=(curl)         # blocks of the pages
  [ -n "$(command -v openssl)" ] || missing+=(openssl)   # and a certificate in them
  [ -n "$(command -v etcd)" ] || missing+=(etcd-server)
  [ -n "$(command -v etcdctl)" ] || missing+=(etcd-client)
  [ -n "$(command -v faketime)" ] || missing+=(faketime)   # a node's wall clock
  [ -n "$(command -v haproxy)" ] || missing+=(haproxy)   # a balancer before the nodes
  { [ -x /usr/sbin/mosquitto ] && [ -n "$(command -v mosquitto_sub)" ]; } || missing+=(mosquitto mosquitto-clients)   # calls of cameras by MQTT
  [ -n "$(command -v ip)" ] || missing+=(iproute2)   # networks of tests
  [ -n "$(command -v certutil)" ] || missing+=(libnss3-tools)   # a certificate in a browser
  [ -n "$(command -v gnutls-cli)" ] || missing+=(gnutls-bin)   # a device with a certificate
  [ -e /usr/include/mbedtls/ssl.h ] || missing+=(libmbedtls-dev)   # another one, which is compiled
  [ -n "$(command -v protoc)" ] || missing+=(protobuf-compiler)   # a test compares generated code
  [ "${#missing[@]}" -gt 0 ] || return 0
  echo "missing: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    echo "install them as root: apt-get install ${missing[*]}"
    return 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  "${apt[@]}" update
  without_services "${apt[@]}" install --yes --no-install-recommends "${missing[@]}"
  node_is_recent || { echo "node 18 or newer is needed, $(node --version) is here"; return 1; }
}

# Runs an installation whose packages start no service, neither at once nor at the next boot: coturn would be an open door on
# a developer's machine, tests start etcd and mosquitto themselves, and of prometheus only promtool is wanted. /usr/share/doc/init-system-helpers/README.policy-rc.d.gz says what the file means.
without_services() {
  local policy=/usr/sbin/policy-rc.d code=0 service
  if [ ! -e "$policy" ]; then
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  "$@" || code=$?
  for service in coturn prometheus etcd haproxy mosquitto; do
    case " $* " in *" $service "* | *" $service-server "*) systemctl disable "$service" 2>/dev/null || true ;; esac
  done
  return "$code"
}

# Debian 12 has node 18: the pinned clients are the newest that run on it.
node_is_recent() {
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' 2>/dev/null
}

python_clients() {
  local wanted
  wanted="$(python3 --version; cat deploy/conformance/python/requirements.txt)"
  [ "$(cat "$clients/python/installed" 2>/dev/null)" != "$wanted" ] || return 0
  rm -rf "$clients/python"
  python3 -m venv "$clients/python"
  # The file has everything, so nothing is looked for: awsiot-credentialhelper asks for an urllib3 that is older than botocore's.
  "$clients/python/bin/pip" install --disable-pip-version-check --no-deps -r deploy/conformance/python/requirements.txt
  printf '%s\n' "$wanted" >"$clients/python/installed"
}

node_clients() {
  node_packages js --omit=optional
  node_packages browser   # esbuild's program is an optional package, one for each processor
}

# Installs the pinned packages of one folder of deploy/conformance.
node_packages() {
  local folder="$1" wanted
  shift
  local -a files
  files=("deploy/conformance/$folder/package.json" "deploy/conformance/$folder/package-lock.json")
  [ ! -e "deploy/conformance/$folder/.npmrc" ] || files+=("deploy/conformance/$folder/.npmrc")
  wanted="$(node --version; cat "${files[@]}")"
  [ "$(cat "$clients/$folder/installed" 2>/dev/null)" != "$wanted" ] || return 0
  rm -rf "${clients:?}/$folder"
  mkdir -p "$clients/$folder"
  cp "${files[@]}" "$clients/$folder/"
  (cd "$clients/$folder" && npm ci "$@" --ignore-scripts --no-audit --no-fund)
  printf '%s\n' "$wanted" >"$clients/$folder/installed"
}

# An image has files of root.
packages() {
  local image=image
  [ "$(id -u)" -eq 0 ] || image=
  # shellcheck disable=SC2086
  deploy/release.sh deb wheel npm $image sums
}

# Every interleaving of posting and falling asleep; the bound keeps loom's search within a minute.
model() {
  LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-3}" RUSTFLAGS="--cfg model" \
    cargo test -p mailbox --locked --lib --target-dir "$target/model"
}

counts() {
  cat "$logs"/*.log | awk '
    /^test result:/ { for (i = 1; i < NF; i++) { if ($(i + 1) == "passed;") passed += $i; if ($(i + 1) == "failed;") failed += $i } }
    /^skipped: / { skipped++ }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
}

if [ -n "${HELIOGRAPH_STEP:-}" ]; then
  unset HELIOGRAPH_STEP
  "$@"
else
  main
fi
