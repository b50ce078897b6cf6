#!/usr/bin/env bash
# Tries the npm packages of dist/ in a project of its own: the program by npx, a signal to it, the helper for tests, a
# platform without a program, a file of which the end is missing. A line for each thing that was seen; the first that is not
# ends it with exit code 1. No registry is asked.
set -euo pipefail
cd "$(dirname "$0")/../../.."
exec </dev/null
. deploy/packages/shared.sh

version="$(packaged_version)"
dist="$PWD/dist"
here="$PWD/deploy/packages/npm" stage="$PWD/target/stage"
place="$(mktemp -d)"
launcher=
trap '[ -z "$launcher" ] || kill -KILL -- "-$launcher" 2>/dev/null || true; rm -rf "$place"' EXIT
unset HELIOGRAPH_BROKER
export npm_config_offline=true npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false \
  npm_config_cache="$place/cache"

programs="$dist/heliograph-broker-linux-x64-$version.tgz"
[[ " $architectures " != *" aarch64 "* ]] || other=broker-linux-arm64
for package in broker broker-linux-x64 ${other:-} testing; do
  [ -e "$dist/heliograph-$package-$version.tgz" ] || fail "no $dist/heliograph-$package-$version.tgz: deploy/release.sh makes it"
  tar --extract --gzip --to-stdout --file "$dist/heliograph-$package-$version.tgz" package/package.json >"$place/package.json"
  ! grep -q '"\(pre\|post\)\{0,1\}install"\|"prepare"' "$place/package.json" || fail "$package runs a script when it is installed"
done

mkdir "$place/project"
cd "$place/project"
echo '{ "name": "camera", "private": true }' >package.json
quietly npm install --save-dev "$programs" "$dist/heliograph-broker-$version.tgz" "$dist/heliograph-testing-$version.tgz"
[[ "$(npx @heliograph/broker version)" == "heliograph $version "* ]] || fail "npx @heliograph/broker version"
[ "$(stat --format=%a node_modules/@heliograph/broker-linux-x64/heliograph)" = 755 ] || fail "the program's mode"
code=0
npx @heliograph/broker serve --no-such-flag >"$place/output" 2>&1 || code=$?
[ "$code" -eq 2 ] || fail "a wrong flag ends with exit code $code through npx"
seen "installed without scripts under node $(node --version): arguments and exit codes by npx"

# A session of its own: a terminal's Ctrl-C goes to both, a supervisor's signal to the launcher.
setsid node_modules/.bin/heliograph serve --dev --data-dir :memory: --listen http://127.0.0.1:0 --admin off \
  >"$place/ready" 2>"$place/log" &
launcher=$!
until grep -q '^ready ' "$place/ready"; do
  kill -0 "$launcher" || { cat "$place/log"; fail "the broker ended before it was ready"; }
  sleep 0.1
done
target="$(sed 's/^ready \([^ ]*\) .*/\1/' "$place/ready")"
quietly timeout 60 "$stage/heliograph-loadgen" run --target "$target" --rate 5 --duration 2 --json "$place/run.json"
grep -q '"ok": *true' "$place/run.json" || { cat "$place/run.json"; fail "messages went wrong"; }
kill -TERM "$launcher"
code=0
wait "$launcher" || code=$?
launcher=
[ "$code" -eq 0 ] || { cat "$place/log"; fail "serve ends with $code after SIGTERM to the launcher"; }
seen "offers relayed; SIGTERM to the launcher ends the broker, exit code 0"

cp "$here/camera.test.mjs" .
PATH="$(dirname "$(command -v node)"):/usr/bin:/bin" quietly timeout 60 node --test camera.test.mjs
grep -q '^# pass 1$' "$place/output" || { cat "$place/output"; fail "not one test passed"; }
seen "@heliograph/testing finds the program of @heliograph/broker"

mv node_modules/@heliograph/broker-linux-x64 "$place/"
code=0
node -e 'Object.defineProperty(process, "platform", { value: "darwin" }); require("@heliograph/broker/heliograph.cjs")' \
  >"$place/output" 2>&1 || code=$?
[ "$code" -eq 2 ] || { cat "$place/output"; fail "on another platform it ends with $code"; }
[ "$(wc -l <"$place/output")" -eq 1 ] || { cat "$place/output"; fail "more than one line on another platform"; }
grep -q "docker run .* heliograph:$version serve --dev" "$place/output" || { cat "$place/output"; fail "what to do is not said"; }
seen "another platform: one line that says what to do, exit code 2"

mkdir "$place/truncated"
cd "$place/truncated"
echo '{ "name": "truncated", "private": true }' >package.json
head -c 1000000 "$programs" >"$place/${programs##*/}"
if npm install "$place/${programs##*/}" >"$place/output" 2>&1; then fail "a package without its end was installed"; fi
grep -q "npm ERR\|npm error" "$place/output" || { cat "$place/output"; fail "npm does not say why"; }
[ ! -e node_modules/@heliograph/broker-linux-x64/heliograph ] || fail "a package without its end wrote a program"
seen "a package without its end is refused: $(grep -m 1 'code [A-Z_]*$' "$place/output")"
