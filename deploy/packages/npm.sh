#!/usr/bin/env bash
# Packs $STAGE as npm packages into $DIST: @heliograph/broker, which starts the program; @heliograph/broker-linux-$NPM_ARCH,
# which has it; and @heliograph/testing. npm gives files of a package one fixed time.
set -euo pipefail

make="$STAGE/npm"
rm -rf "$make"
program="broker-linux-$NPM_ARCH"
mkdir -p "$make/broker" "$make/$program" "$make/testing"
cp deploy/packages/npm/heliograph.cjs deploy/packages/npm/README.md LICENSE "$make/broker/"
cp "$STAGE/heliograph" "$STAGE/licences.txt" LICENSE "$make/$program/"
cp deploy/testing/js/{index.cjs,index.d.ts,index.mjs,package.json,README.md} LICENSE "$make/testing/"
sed "s/VERSION/$VERSION/" deploy/packages/npm/broker.json >"$make/broker/package.json"
sed "s/VERSION/$VERSION/; s/NPM_ARCH/$NPM_ARCH/; s/ARCH/$ARCH/" deploy/packages/npm/program.json >"$make/$program/package.json"
for package in broker "$program" testing; do
  (cd "$make/$package" && npm pack --silent --ignore-scripts --pack-destination "$DIST" >/dev/null)
done
