#!/usr/bin/env bash
# Builds everything that is released into dist/, from the commit that is checked out.
#
#   deploy/release.sh              all parts: tools binary book deb wheel npm image sums
#   deploy/release.sh binary deb   only these, in this order
#   deploy/release.sh --twice      all in two directories of different names, and compares every byte
#
#   tools    what builds packages, at pinned versions, in target/release-tools: the first time some three minutes
#   binary   both programs for Linux with glibc 2.28 or newer, stripped; what is debug information lies apart.
#            Man pages, completions and licences of all dependencies
#   book     the pages as a book with a search, its links checked: heliograph-VERSION-book.tar.gz, and a folder of the
#            Debian package
#   deb      heliograph_VERSION_amd64.deb
#   wheel    the wheel with the programs, one for other systems, whose command says what to do there, and a source
#            archive, whose build says the same
#   npm      the packages of @heliograph
#   image    heliograph-VERSION-image.tar.gz, which `docker load` and `podman load` read; for aarch64 …-image-arm64.tar.gz
#   sums     SHA256SUMS, and the material lists (CycloneDX) of both programs
#
# On request, with keys of the releaser's (deploy/RELEASE.md):
#   apt      the Debian packages as a repository, signed by the key of gpg that APT_KEY names; before sums
#   sign     SHA256SUMS.minisig, by the key of minisign in the file MINISIGN_KEY
#
# Each of binary, deb, wheel, npm and image for x86_64; ARCHITECTURES="x86_64 aarch64" makes them for both.
#
# Wants what `deploy/ci/check.sh` wants, with the registries of crates and PyPI; image and deb want what
# deploy/packages/debian.sh installs, and image root. SOURCE_DATE_EPOCH is the time of the commit. Nothing is published.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

readonly all="tools binary book deb wheel npm image sums" on_request="apt sign" of_each="binary deb wheel npm image"
export CARGO_TERM_COLOR=never LC_ALL=C.UTF-8 TZ=UTC
[ -n "$(command -v cargo)" ] || PATH="$HOME/.cargo/bin:$PATH"
ROOT="$PWD"
. deploy/packages/shared.sh
VERSION="$(packaged_version)"
SOURCE_DATE_EPOCH="$(git log --max-count=1 --format=%ct)"
TOOLS="$ROOT/target/release-tools" STAGE="$ROOT/target/stage" DIST="$ROOT/dist"
export RELEASE_PROFILE=dist   # of cargo
# Reproducible: what is made is readable by all, whatever the mask of the shell is.
umask 022
export ROOT VERSION SOURCE_DATE_EPOCH TOOLS STAGE DIST PATH="$TOOLS/bin:$TOOLS/python/bin:$PATH"

main() {
  local part started architecture
  if [ "$*" = --twice ]; then
    exec bash deploy/packages/twice.sh
  fi
  [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || {
    echo "$(uname -s) $(uname -m): packages are built on Linux on x86_64, also those for Linux on aarch64"
    exit 2
  }
  for part in ${*:-$all}; do
    [[ " $all $on_request " == *" $part "* ]] || { echo "no part \"$part\": allowed are $all $on_request, or --twice"; exit 2; }
  done
  mkdir -p "$DIST"
  for part in ${*:-$all}; do
    started="$SECONDS"
    case " $of_each " in
      *" $part "*) for architecture in $architectures; do of "$architecture" "$part"; done ;;
      *) bash "deploy/packages/$part.sh" ;;
    esac
    echo "done: $part, $((SECONDS - started)) s"
  done
  (cd "$DIST" && ls -l --block-size=1 | awk 'NR > 1 { printf "%11d  %s\n", $5, $9 }')
}

# A part for a processor, in a shell of its own: its name in Rust and in wheels, in Debian and images, and in npm.
of() (
  case "$1" in
    x86_64) export ARCH=x86_64 DEB_ARCH=amd64 NPM_ARCH=x64 ;;
    aarch64) export ARCH=aarch64 DEB_ARCH=arm64 NPM_ARCH=arm64 STAGE="$STAGE-aarch64" ;;
    *) echo "no architecture \"$1\": expected x86_64 or aarch64"; exit 2 ;;
  esac
  bash "deploy/packages/$2.sh"
)

main "$@"
