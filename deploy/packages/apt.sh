#!/usr/bin/env bash
# Lays the Debian packages of $DIST out as a repository for apt, signed by the key of gpg that $APT_KEY names:
# heliograph-VERSION-apt.tar.gz. Unpacked at URL, with heliograph.gpg of it as /etc/apt/keyrings/heliograph.gpg, its line is
# deb [signed-by=/etc/apt/keyrings/heliograph.gpg] URL stable main
set -euo pipefail

[ -n "${APT_KEY:-}" ] || { echo "APT_KEY must name the key that signs, as gpg --list-secret-keys does"; exit 2; }
apt="$STAGE/apt" suite=dists/stable
rm -rf "$apt"
mkdir -p "$apt/pool/main" "$apt/$suite"
cp "$DIST"/heliograph_"$VERSION"_*.deb "$DIST"/heliograph-dbgsym_"$VERSION"_*.deb "$apt/pool/main/"
gpg --batch --export "$APT_KEY" >"$apt/heliograph.gpg"
cd "$apt"
architectures="$(printf '%s\n' pool/main/heliograph_*.deb | sed 's/.*_\(.*\)\.deb/\1/' | paste --serial --delimiters=' ')"
for architecture in $architectures; do
  mkdir -p "$suite/main/binary-$architecture"
  apt-ftparchive --arch "$architecture" packages pool/main >"$suite/main/binary-$architecture/Packages"
  gzip --no-name --best --keep "$suite/main/binary-$architecture/Packages"
done
release=APT::FTPArchive::Release
apt-ftparchive -o "$release::Origin=Heliograph" -o "$release::Label=Heliograph" -o "$release::Suite=stable" -o "$release::Codename=stable" \
  -o "$release::Architectures=$architectures" -o "$release::Components=main" release "$suite" >Release
mv Release "$suite/"
gpg --batch --yes --local-user "$APT_KEY" --armor --detach-sign --output "$suite/Release.gpg" "$suite/Release"
gpg --batch --yes --local-user "$APT_KEY" --clear-sign --output "$suite/InRelease" "$suite/Release"
cd "$ROOT"
bash deploy/packages/archive.sh "$DIST/heliograph-$VERSION-apt.tar.gz" "$apt"
