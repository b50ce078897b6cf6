#!/usr/bin/env bash
# Tries the signature of dist/ with a key that is thrown away: what is signed is verified, and what was changed afterwards is
# not, be it a package or the sums. A line for each thing that was seen; the first that is not ends it with exit code 1. Wants
# minisign (deploy/packages/debian.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
. deploy/packages/shared.sh

[ -e dist/SHA256SUMS ] || fail "dist/SHA256SUMS is not there: deploy/release.sh makes it"
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
cp -r dist "$place/dist"
rm -f "$place/dist/SHA256SUMS.minisig"
minisign -G -W -p "$place/key.pub" -s "$place/key" >/dev/null
export DIST="$place/dist" MINISIGN_KEY="$place/key"
VERSION="$(packaged_version)" quietly bash deploy/packages/sign.sh
cd "$place/dist"
verified() { (minisign -V -q -p "$place/key.pub" -m SHA256SUMS && sha256sum --check --quiet --ignore-missing SHA256SUMS) >/dev/null 2>&1; }
verified || fail "what was signed is not verified"
seen "signed: $(minisign -V -Q -p "$place/key.pub" -m SHA256SUMS), $(grep -c . SHA256SUMS) files"

first="$(sed -n '1s/^[0-9a-f]*  //p' SHA256SUMS)"
printf x >>"$first"
if verified; then fail "$first was changed, and is verified"; fi
if (cd "$OLDPWD" && VERSION=0 bash deploy/packages/sign.sh) >/dev/null 2>&1; then fail "$first was changed, and is signed"; fi
sed -i "1s/^[0-9a-f]*/$(sha256sum "$first" | cut -d' ' -f1)/" SHA256SUMS
if verified; then fail "the sums were changed, and are verified"; fi
seen "a changed package is neither verified nor signed, and changed sums are not verified"
