#!/usr/bin/env bash
# Tries the image of dist/ without a container runtime: unpacked, and run by bubblewrap as a runtime does, with a root that is
# read-only, the user 65532 or another, no capabilities, and Docker's default seccomp profile or deploy/seccomp.json, in a
# network of its own. A line for each thing that was seen; the first that is not ends it with exit code 1. Wants root and deploy/packages/debian.sh.
set -euo pipefail
cd "$(dirname "$0")/../../.."
exec </dev/null
. deploy/packages/shared.sh

version="$(packaged_version)"
image="$PWD/dist/heliograph-$version-image.tar.gz"

if [ "${1:-}" != inside ]; then
  [ "$(id -u)" -eq 0 ] || { echo "skipped: only root can make an image and a network"; exit; }
  [ -e "$image" ] || fail "$image is not there: deploy/release.sh makes it"
  exec unshare --net --pid --fork --kill-child --mount-proc bash "$0" inside
fi

ip link set lo up
place="$(mktemp -d)"
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$place"' EXIT
mkdir "$place/image" "$place/root" "$place/data"
tar --extract --gzip --file "$image" --directory "$place/image"

# What a runtime reads, with a value a line for what follows.
python3 - "$place/image" "heliograph:$version" >"$place/config" <<'END'
import json, sys
from pathlib import Path
place = Path(sys.argv[1])
(entry,) = json.loads((place / "manifest.json").read_text())
assert [tag.rpartition("/")[2] for tag in entry["RepoTags"]] == [sys.argv[2]], entry
config = json.loads((place / entry["Config"]).read_text())["config"]
assert (config["User"], config["StopSignal"], config["WorkingDir"]) == ("65532:65532", "SIGTERM", "/var/lib/heliograph"), config
assert list(config["Volumes"]) == ["/var/lib/heliograph"] and sorted(config["ExposedPorts"]) == ["8080", "8090", "8443"], config
assert config["Healthcheck"]["Test"][0] == "CMD" and config["Healthcheck"]["Interval"] > 0, config
print(*entry["Layers"])
print(*config["Entrypoint"])
print(*config["Cmd"])
print(*config["Healthcheck"]["Test"][1:])
END
{ read -ra layers && read -ra entrypoint && read -ra command && read -ra health; } <"$place/config"
for layer in "${layers[@]}"; do tar --extract --file "$place/image/$layer" --directory "$place/root"; done
bytes="$(cat "${layers[@]/#/$place/image/}" | wc -c)"
[ "$bytes" -le 40000000 ] || fail "$bytes bytes, 40,000,000 are allowed"
[ "$(stat --format='%a %u:%g' "$place/root/var/lib/heliograph")" = "700 65532:65532" ] || fail "the data directory is another user's"
grep -q glommio "$place/root/usr/share/doc/heliograph/licences.txt" || fail "no licences of dependencies"
[ -z "$(find "$place/root" -perm /6000)" ] || fail "a program that changes its user"
grep -q '^Version: ' "$place/root/var/lib/dpkg/status.d/libc6" || fail "the version of the C library is not recorded"
seen "$bytes bytes, and $(stat --format=%s "$image") to load; user, volume, ports, health check, licences"

# The image for the other processor: deploy/ci/arm64.sh runs it.
[[ " $architectures " != *" aarch64 "* ]] || tar --extract --gzip --to-stdout --file "${image%.tar.gz}-arm64.tar.gz" --wildcards '[0-9a-f]*.json' | grep -q '"architecture": "arm64"' ||
  fail "${image%.tar.gz}-arm64.tar.gz is not for arm64"

volume=(--bind "$place/data" /var/lib/heliograph)
# Runtimes make these before a container starts, over a root that is read-only.
mkdir -p "$place/root"/{proc,dev,sys}
run() {
  local filter="$1"
  shift
  exec bwrap --unshare-user --uid "${user:-65532}" --gid "${user:-65532}" --unshare-pid --as-pid-1 --unshare-ipc --unshare-uts --cap-drop ALL \
    --die-with-parent --ro-bind "$place/root" / "${volume[@]}" --proc /proc --dev /dev \
    --ro-bind /sys /sys --tmpfs /tmp --chdir "${at:-/var/lib/heliograph}" --clearenv --setenv PATH /usr/bin --seccomp 9 --info-fd 8 \
    "$@" 8>"$place/info" 9<"$filter"
}
python3 deploy/packages/image/confine.py deploy/seccomp.json --bpf "$place/filter"
python3 deploy/packages/image/confine.py broker/tests/data/default_profile.json --bpf "$place/default"

(run "$place/filter" "${entrypoint[@]}" seccomp-profile) | cmp - deploy/seccomp.json || fail "the image prints another seccomp profile"
[ "$(cd "$place/root" && ls)" = "$(printf '%s\n' dev etc lib lib64 proc run sys tmp usr var)" ] || fail "in the image: $(ls "$place/root")"
if (run "$place/filter" "${health[@]}") >"$place/output" 2>&1; then fail "the health check passes without a broker"; fi
code=0
(run "$place/filter" "${entrypoint[@]}" "${command[@]}") >"$place/output" 2>&1 || code=$?
[ "$code" -eq 2 ] || { cat "$place/output"; fail "without a configuration it ends with $code, must be 2"; }
grep -q /etc/heliograph/broker.toml "$place/output" || { cat "$place/output"; fail "the missing configuration is not named"; }
seen "without a configuration: exit code 2, and its name"

# The arguments behind the image's name in README.md.
read -ra arguments <<<"$(sed -n "s/^ *heliograph:$version //p" README.md)"
[ "${#arguments[@]}" -gt 0 ] || fail "README.md runs no heliograph:$version"
# Without a volume, and as a user whom the image does not know: the data directory is not writable. Runtimes go there as root.
(user=12345 at=/ volume=(); run "$place/default" "${entrypoint[@]}" "${arguments[@]}") >"$place/ready" 2>"$place/log" &
broker=$!
until grep -q '^ready ' "$place/ready"; do
  kill -0 "$broker" || { cat "$place/log"; fail "the broker ended before it was ready"; }
  sleep 0.1
done
(run "$place/default" "${health[@]}") >"$place/output" 2>&1 || { cat "$place/output"; fail "the health check fails"; }
grep -q 'engine=epoll' "$place/ready" || { cat "$place/ready"; fail "Docker's default profile leaves another engine"; }
asked() { curl --silent --output /dev/null --write-out '%{http_code}' "$@"; }
token="$(sed -n 's/.* try=http:\/\/localhost:8090\/try#token=\([^ ]*\).*/\1/p' "$place/ready")"
[ "$(asked http://localhost:8090/config) $(asked -H "Authorization: Bearer $token" http://localhost:8090/config)" = "401 200" ] ||
  { cat "$place/ready"; fail "the URL's token does not open the admin listener"; }
[ "$(asked http://localhost:8080/ping) $(asked -H 'Host: evil.example' http://localhost:8080/ping)" = "200 403" ] || fail "a foreign Host is answered"
seen "serves with Docker's default profile, as another user without a volume, the health check passes, pages want the token of the URL, a foreign Host is refused"
timeout 60 target/stage/heliograph-loadgen run --target http://127.0.0.1:8080 --rate 5 --duration 2 --json "$place/run.json" \
  >"$place/output" 2>&1 || { cat "$place/output"; fail "loadgen"; }
grep -q '"ok": *true' "$place/run.json" || { cat "$place/run.json"; fail "messages went wrong"; }
# The first process of its namespace, which gets no signal that it does not handle.
kill -TERM "$(pgrep -f "^${entrypoint[0]} ${arguments[*]}")"
code=0
wait "$broker" || code=$?
[ "$code" -eq 0 ] || { cat "$place/log"; fail "serve ends with $code after SIGTERM"; }
[ "$SECONDS" -lt 60 ] || fail "from the image to relayed offers: $SECONDS s, 60 are allowed"
seen "from the image to relayed offers in $SECONDS s; SIGTERM ends it with exit code 0"

sed 's/"io_uring_setup", //' deploy/seccomp.json >"$place/seccomp.json"
python3 deploy/packages/image/confine.py "$place/seccomp.json" --bpf "$place/narrow"
code=0
(run "$place/narrow" "${entrypoint[@]}" "${arguments[@]}" --engine io_uring) >"$place/output" 2>&1 || code=$?
[ "$code" -eq 1 ] || { cat "$place/output"; fail "without the io_uring that is asked for it ends with $code, must be 1"; }
head -n 1 "$place/output" | grep -q -- "--security-opt seccomp=seccomp.json" || { cat "$place/output"; fail "the first line"; }
seen "without the io_uring that is asked for: the first line has --security-opt"

head -c 1000000 "$image" >"$place/truncated.tar.gz"
if gzip --test "$place/truncated.tar.gz" 2>/dev/null; then fail "an image without its end can be unpacked"; fi
seen "an image without its end cannot be unpacked"
