#!/usr/bin/env bash
# publish.sh VERSION: makes a release of the commit that is checked out (deploy/RELEASE.md): writes the version where files
# name it, and the date into both changelogs; commits and tags; builds dist/ of the tag, and signs it. Publishes nothing.
#
#   APT_KEY=FINGERPRINT MINISIGN_KEY=FILE deploy/packages/publish.sh 0.2.0
#   deploy/packages/publish.sh 0.2.0 --prepare    up to the tag, which `git tag --delete` and `git reset` undo
#
# The tag is signed if git has a key for it (user.signingKey).
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
. deploy/packages/shared.sh

version="${1:-}" old="$(packaged_version)" date="$(date --utc +%F)"
[[ "$version" =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "error: \"$version\": expected a version, as in publish.sh 0.2.0"; exit 2; }
[ "$(printf '%s\n' "$old" "$version" | sort --version-sort | tail -n 1)" = "$version" ] || fail "$version is older than $old"
[ -z "$(git status --porcelain)" ] || fail "files differ from the commit"
! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null || fail "the tag v$version is there"
if [ "${2:-}" != --prepare ]; then
  ! grep -q '^repository = .*\.invalid' Cargo.toml || fail "repository in Cargo.toml must be where the sources are published"
  ! grep -q '@.*\.invalid' broker/Cargo.toml || fail "maintainer in broker/Cargo.toml must be an address"
  [ -n "${APT_KEY:-}" ] && [ -n "${MINISIGN_KEY:-}" ] || fail "APT_KEY and MINISIGN_KEY must name the keys that sign"
fi

# The heading of what is not released yet has the version, or only says so.
heading="$(grep -m 1 '^## ' CHANGELOG.md)"
case "$heading" in
  "## $version, not released yet" | "## Unreleased") ;;
  *) fail "the first heading of CHANGELOG.md is \"$heading\", must be \"## $version, not released yet\" or \"## Unreleased\"" ;;
esac
sed -i "0,/^## .*/s//## $version, $date/" CHANGELOG.md
sed -i "/^\[workspace.package\]/,/^\[/s/^version = .*/version = \"$version\"/" Cargo.toml
sed -i "s/^version = .*/version = \"$version\"/" deploy/testing/python/pyproject.toml
# Other manifests name the repository as Cargo.toml does.
repository="$(sed -n 's/^repository = "\(.*\)"$/\1/p' Cargo.toml)"
sed -i "s|https://heliograph\.invalid/heliograph|$repository|" deploy/packages/npm/*.json deploy/packages/wheel/build.py \
  deploy/testing/js/package.json deploy/testing/python/pyproject.toml
sed -i "s/^  \"version\": .*/  \"version\": \"$version\",/" deploy/testing/js/package.json
sed -i "s/heliograph\([-_:]\)${old//./\\.}/heliograph\1$version/g" README.md deploy/*.md
cargo update --workspace --offline --quiet
changes=deploy/packages/deb/changelog
entry="heliograph ($version) unstable; urgency=medium

  * /usr/share/doc/heliograph/CHANGELOG.md.gz has what is in it.

 -- $(sed -n 's/^maintainer = "\(.*\)"$/\1/p' broker/Cargo.toml)  $(date --utc --rfc-email)"
# The first version's entry is there already, without its date.
[ "$version" = "$old" ] || entry="$entry

$(cat "$changes")"
printf '%s\n' "$entry" >"$changes"
git commit --quiet --all --message "version $version"
sign=--annotate
[ -z "$(git config user.signingKey)" ] || sign=--sign
git tag "$sign" --message "Heliograph $version" "v$version"
seen "v$version: $(git rev-parse --short HEAD)"
[ "${2:-}" != --prepare ] || exit 0

rm -rf dist
ARCHITECTURES="x86_64 aarch64" deploy/release.sh tools binary book deb wheel npm image apt sums sign
seen "dist/ of $version, signed; deploy/RELEASE.md has what to do with it"
