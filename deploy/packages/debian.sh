#!/usr/bin/env bash
# Installs the Debian packages that build and try packages, beside those of deploy/ci/check.sh. Wants root if one is missing.
set -euo pipefail

missing=()
has() { [ -n "$(command -v "$1")" ] || missing+=("$2"); }
has objcopy binutils
has aarch64-linux-gnu-objcopy binutils-aarch64-linux-gnu
has lintian lintian
has mmdebstrap mmdebstrap
has man man-db
has buildah buildah
has bwrap bubblewrap
has kubectl kubernetes-client
has apt-ftparchive apt-utils
has gpg gnupg
has minisign minisign
[ "${#missing[@]}" -gt 0 ] || exit 0
[ "$(id -u)" -eq 0 ] || { echo "install them as root: apt-get install ${missing[*]}"; exit 1; }
export DEBIAN_FRONTEND=noninteractive
# Another apt may be at work: its lock is waited for.
apt=(apt-get --quiet -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)
"${apt[@]}" update
"${apt[@]}" install --yes --no-install-recommends "${missing[@]}"
