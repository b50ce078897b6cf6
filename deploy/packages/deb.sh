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
cargo deb --quiet --package broker --no-build --no-strip --multiarch foreign --target "$ARCH-unknown-linux-gnu" \
  --output "$DIST/heliograph_${VERSION}_$DEB_ARCH.deb"

# What debuggers look for by the links in both programs.
symbols="$STAGE/dbgsym"
rm -rf "$symbols"
for program in heliograph heliograph-loadgen; do
  install -D -m 0644 "$STAGE/debug/$program.debug" "$symbols/usr/lib/debug/usr/bin/$program.debug"
done
mkdir -p "$symbols/DEBIAN" "$symbols/usr/share/doc"
ln -s heliograph "$symbols/usr/share/doc/heliograph-dbgsym"
field() { dpkg-deb --field "$DIST/heliograph_${VERSION}_$DEB_ARCH.deb" "$1"; }
cat >"$symbols/DEBIAN/control" <<END
Package: heliograph-dbgsym
Version: $(field Version)
Architecture: $DEB_ARCH
Maintainer: $(field Maintainer)
Homepage: $(field Homepage)
Auto-Built-Package: debug-symbols
Section: debug
Priority: optional
Depends: heliograph (= $(field Version))
Installed-Size: $(du --summarize --apparent-size --block-size=1K "$symbols/usr" | cut -f1)
Description: debug symbols for heliograph
END
# One thread: with more the archive would depend on how many there are.
dpkg-deb --root-owner-group -Zxz -z2 --threads-max=1 --build "$symbols" "$DIST/heliograph-dbgsym_${VERSION}_$DEB_ARCH.deb" >/dev/null
