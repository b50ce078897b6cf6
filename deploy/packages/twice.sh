#!/usr/bin/env bash
# Builds the commit that is checked out in two directories of different names and lengths, and compares every byte of both
# dist/. Each has tools of its own, as two people have. Some twice the time of deploy/release.sh.
set -euo pipefail

git diff --quiet HEAD || echo "note: changes that are not committed are in neither"
place="$(mktemp -d "${TWICE_DIR:-/var/tmp}/heliograph-twice.XXXXXX")"
trap 'rm -rf "$place"' EXIT
mkdir -p "$TOOLS"
for name in one a-longer-name; do
  git clone --quiet --no-hardlinks "$ROOT" "$place/$name"
  mkdir -p "$place/$name/target"
  cp -a "$TOOLS" "$place/$name/target/release-tools"
  (cd "$place/$name" && env -u ROOT -u STAGE -u DIST -u TOOLS bash deploy/release.sh)
  mv "$place/$name/dist" "$place/dist-$name"
  rm -rf "${place:?}/$name"
done
diff --recursive --brief "$place/dist-one" "$place/dist-a-longer-name"
echo "the same twice: $(find "$place/dist-one" -type f | wc -l) files"
