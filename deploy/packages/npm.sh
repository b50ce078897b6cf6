#!/usr/bin/env bash
# Packs $STAGE as npm packages into $DIST: @heliograph/broker, which starts the program; @heliograph/broker-linux-x64, which
# has it; and @heliograph/testing. npm gives files of a package one fixed time.
set -euo pipefail

make="$STAGE/npm"
rm -rf "$make"
mkdir -p "$make/broker" "$make/broker-linux-x64" "$make/testing"
cp deploy/packages/npm/heliograph.cjs deploy/packages/npm/README.md LICENSE "$make/broker/"
cp "$STAGE/heliograph" "$STAGE/licences.txt" LICENSE "$make/broker-linux-x64/"
cp deploy/testing/js/{index.cjs,index.d.ts,index.mjs,package.json,README.md} LICENSE "$make/testing/"
for package in broker broker-linux-x64; do
  sed "s/VERSION/$VERSION/" "deploy/packages/npm/$package.json" >"$make/$package/package.json"
done
for package in broker broker-linux-x64 testing; do
  (cd "$make/$package" && npm pack --silent --ignore-scripts --pack-destination "$DIST" >/dev/null)
done
