#!/usr/bin/env bash
# Writes the material lists (CycloneDX 1.5, JSON) of both programs, and of the image if it was made, and SHA256SUMS of all that
# is in $DIST.
set -euo pipefail

# cargo-cyclonedx writes beside each manifest of the workspace: it works on a copy.
copy="$(mktemp -d)"
trap 'rm -rf "$copy"' EXIT
git ls-files -z -- '*.rs' '*.toml' Cargo.lock | xargs -0 cp --parents --target-directory "$copy"
# The features of dependencies are those of the programs alone, not of what is measured beside them.
sed -i 's/"benches", "deploy\/packages\/documents"//' "$copy/Cargo.toml"
if grep -q '^members = .*benches' "$copy/Cargo.toml"; then echo "Cargo.toml: members must end with benches and documents"; exit 1; fi
list() {
  local package="$1" program="$2" file="$DIST/$2-$VERSION.cdx.json"
  (cd "$copy" && cargo cyclonedx --quiet --manifest-path "$package/Cargo.toml" --format json --spec-version 1.5 --no-build-deps \
    --target x86_64-unknown-linux-gnu --override-filename material)
  # Directories of this machine say nothing to others, and differ by machine.
  sed "s|file://$copy|file://heliograph|g" "$copy/$package/material.json" >"$file"
  find "$copy" -name material.json -delete
  python3 deploy/packages/materials.py "$file" "${@:3}"
  echo "$program: $(grep -c '"type": "library"' "$file") libraries"
}
debian="$STAGE/image/var/lib/dpkg/status.d" image=()
[ ! -d "$debian" ] || image=("$debian" "$DIST/heliograph-$VERSION-image.cdx.json")
list broker heliograph "${image[@]}"
list loadgen heliograph-loadgen
cd "$DIST"
rm -f SHA256SUMS
sha256sum -- * >"$copy/sums"
mv "$copy/sums" SHA256SUMS
chmod 644 SHA256SUMS
