#!/usr/bin/env bash
# Builds the broker as a distribution does: the sources of the commit that is checked out, without their repository and within
# another one, all crates by `cargo vendor`, then `cargo build --offline --locked` without a network (if run by root), with an
# empty home of cargo, and with a git that fails. A line for each thing that was seen; the first that is not ends the script
# with exit code 1. Some 2 GB under OFFLINE_DIR (default /var/tmp).
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
. deploy/packages/shared.sh

place="$(mktemp -d "${OFFLINE_DIR:-/var/tmp}/heliograph-offline.XXXXXX")"
trap 'rm -rf "$place"' EXIT
sources="$place/packaging/heliograph"
mkdir -p "$sources" "$place/bin" "$place/cargo"
git archive HEAD | tar --extract --directory "$sources"
git -C "$place/packaging" init --quiet
git -C "$place/packaging" -c user.name=packager -c user.email=packager@example.com commit --quiet --allow-empty --message packaging
cd "$sources"
cargo vendor --locked --quiet vendor >/dev/null
# Not the settings that `cargo vendor` prints: a mirror of this host is in those.
printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "vendor"\n' >>.cargo/config.toml
seen "$(find vendor -maxdepth 1 -mindepth 1 | wc -l) crates, $(du -sm vendor | cut -f1) MB"

printf '#!/bin/sh\necho "git $*" >>%s/called\nexit 1\n' "$place" >"$place/bin/git"
chmod 755 "$place/bin/git"
alone=()
[ "$(id -u)" -ne 0 ] || alone=(unshare --net)
quietly "${alone[@]}" env -u HELIOGRAPH_COMMIT -u GLOMMIO_LIBURING_DIR CARGO_HOME="$place/cargo" CARGO_TARGET_DIR="$place/target" PATH="$place/bin:$PATH" \
  RUSTUP_TOOLCHAIN="$(rustup show active-toolchain | cut -d' ' -f1)" cargo build --offline --locked -p broker
[ ! -e "$place/called" ] || fail "the build calls $(head -n 1 "$place/called")"
commit="$("$place/target/debug/heliograph" version --json | sed -n 's/^ *"commit": \(.*\),$/\1/p')"
[ "$commit" = null ] || fail "the commit is $commit, of another repository"
seen "built without a registry and without git: $("$place/target/debug/heliograph" version)"
