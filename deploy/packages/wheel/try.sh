#!/usr/bin/env bash
# Tries the wheels of dist/ in virtual environments of their own: the line of README.md, both programs, `python -m heliograph`,
# a run of pytest with boto3, the wheel for other systems, a file of which the end is missing. A line for each thing that
# was seen; the first that is not ends it with exit code 1. pytest and boto3 are those of target/clients/python.
set -euo pipefail
cd "$(dirname "$0")/../../.."
exec </dev/null
. deploy/packages/shared.sh

version="$(packaged_version)"
dist="$PWD/dist"
wheel="$dist/heliograph-$version-py3-none-manylinux_2_28_x86_64.whl"
here="$PWD/deploy/packages/wheel"
python="${HELIOGRAPH_CLIENTS:-$PWD/target/clients}/python/bin/python3"
line="$(grep -x 'pip install \./heliograph-.*\.whl' README.md)"
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
export PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1
unset HELIOGRAPH_BROKER

[ -e "$wheel" ] || fail "$wheel is not there: deploy/release.sh makes it"
[ "$(stat --format=%s "$wheel")" -le 15000000 ] || fail "$(stat --format=%s "$wheel") bytes, 15,000,000 are allowed"
seen "$(stat --format=%s "$wheel") bytes"

# As README.md has it, in an environment that is activated.
quietly "$python" -m venv "$place/venv"
(
  cd "$dist"
  # shellcheck disable=SC1091
  . "$place/venv/bin/activate"
  quietly bash -euc "$line"
  [[ "$(heliograph version)" == "heliograph $version "* ]] || fail "heliograph version: $(heliograph version)"
  [[ "$(heliograph-loadgen --version)" == *"$version"* ]] || fail "heliograph-loadgen --version: $(heliograph-loadgen --version)"
)
[ "$("$place/venv/bin/python" -m heliograph version)" = "$("$place/venv/bin/heliograph" version)" ] || fail "python -m heliograph"
grep -q glommio "$place"/venv/lib/python3*/site-packages/heliograph-*/licenses/licences.txt || fail "no licences of dependencies"
seen "installed: both programs, python -m heliograph, licences"

# In one that is not, with a PATH that lacks it.
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$(echo "$place"/venv/lib/python3*/site-packages)/clients.pth"
mkdir "$place/project"
cp "$here/test_camera.py" "$place/project/"
(cd "$place/project" && PATH=/usr/bin:/bin quietly "$place/venv/bin/python" -m pytest -p no:cacheprovider --color=no)
seconds="$(sed -n 's/.* 3 passed in \([0-9.]*\)s .*/\1/p' "$place/output")"
[ -n "$seconds" ] || { cat "$place/output"; fail "not three tests passed"; }
allowed=$((3 * ${HELIOGRAPH_TESTS_SLOW:-1}))
awk -v seconds="$seconds" -v allowed="$allowed" 'BEGIN { exit !(seconds <= allowed) }' ||
  fail "three tests in $seconds s, $allowed are allowed"
seen "pytest: three tests with boto3 in $seconds s"

# Other systems, and an older C library.
for platform in macosx_11_0_arm64 win_amd64 manylinux_2_28_riscv64 manylinux_2_17_x86_64 musllinux_1_2_x86_64; do
  quietly "$place/venv/bin/pip" download --find-links "$dist" --no-deps --only-binary :all: --platform "$platform" \
    --dest "$place/$platform" "heliograph==$version"
  [ -e "$place/$platform/heliograph-$version-py3-none-any.whl" ] || fail "$platform gets $(ls "$place/$platform")"
done
for arch in $architectures; do
  quietly "$place/venv/bin/pip" download --find-links "$dist" --no-deps --only-binary :all: \
    --platform "manylinux_2_28_$arch" --dest "$place/linux-$arch" "heliograph==$version"
  [ -e "$place/linux-$arch/heliograph-$version-py3-none-manylinux_2_28_$arch.whl" ] ||
    fail "Linux on $arch gets $(ls "$place/linux-$arch")"
done
quietly "$python" -m venv "$place/elsewhere"
quietly "$place/elsewhere/bin/pip" install "$place/win_amd64/heliograph-$version-py3-none-any.whl"
for command in heliograph heliograph-loadgen "python -m heliograph"; do
  code=0
  # shellcheck disable=SC2086
  "$place/elsewhere/bin/"$command serve --dev >"$place/output" 2>&1 || code=$?
  [ "$code" -eq 2 ] || fail "$command on another system exits with $code"
  [ "$(wc -l <"$place/output")" -eq 1 ] || fail "$command says on another system: $(cat "$place/output")"
  grep -q "docker run .* heliograph:$version serve --dev" "$place/output" || fail "$command says: $(cat "$place/output")"
done
if "$place/elsewhere/bin/pip" install --force-reinstall --find-links "$dist" --no-binary heliograph "heliograph==$version" \
  >"$place/output" 2>&1; then fail "something was built from the source archive"; fi
grep -q "On a Mac or on Windows" "$place/output" || { cat "$place/output"; fail "the source archive does not say what to do"; }
seen "other systems get the wheel that says what to do, and a build from source says the same"

mkdir "$place/truncated"
head -c 1000000 "$wheel" >"$place/truncated/${wheel##*/}"
quietly "$place/elsewhere/bin/pip" uninstall --yes heliograph
if "$place/elsewhere/bin/pip" install "$place/truncated/${wheel##*/}" >"$place/output" 2>&1; then
  fail "a wheel without its end was installed"
fi
grep -q "is invalid" "$place/output" || { cat "$place/output"; fail "pip does not say that the wheel is invalid"; }
[ ! -e "$place/elsewhere/bin/heliograph" ] || fail "a wheel without its end wrote a program"
(cd "$place/truncated" && ! sha256sum --check --ignore-missing "$dist/SHA256SUMS" >"$place/output" 2>&1) || fail "SHA256SUMS takes a wheel without its end"
seen "a wheel without its end is refused, by pip and by SHA256SUMS"
