#!/usr/bin/env bash
# Packs $STAGE as a Debian package for $DEB_ARCH into $DIST. [package.metadata.deb] of broker/Cargo.toml has what lies where.
set -euo pipefail

deb="$STAGE/deb"
rm -rf "$deb"
mkdir -p "$deb"
# The unit of the pages, with the paths of a package.
sed -e 's|/usr/local/bin/|/usr/bin/|' -e '1,/^$/{/^# systemd unit/,/^# 0640/d}' deploy/heliograph.service >"$deb/heliograph.service"
grep -q '^ExecStart=/usr/bin/heliograph serve ' "$deb/heliograph.service"
# zsh looks for functions, the others for the program's name.
for program in heliograph heliograph-loadgen; do
  cp "$STAGE/completions/$program.bash" "$deb/$program"
done
# The manifest has one stage for all processors.
ln -sfn "$STAGE" "$ROOT/target/stage-deb"
cargo deb --quiet --package broker --no-build --no-strip --target "$ARCH-unknown-linux-gnu" \
  --output "$DIST/heliograph_${VERSION}_$DEB_ARCH.deb"
