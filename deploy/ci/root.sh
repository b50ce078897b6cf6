#!/usr/bin/env bash
# root.sh TARGET [PACKAGE...]: makes a minimal Debian 12, a directory or a .tar, by mmdebstrap: Debian's essential packages, apt,
# certificates, and the named ones. Sources and settings of apt are this machine's own. Wants root.
set -euo pipefail

target="$1"
shift
packages="ca-certificates"
for package in "$@"; do packages+=",$package"; done
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  [ ! -s "$file" ] || sources+=("$file")
done
settings="$(mktemp)"
trap 'rm -f "$settings"' EXIT
for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
  [ ! -f "$file" ] || cat "$file"
done >"$settings"
mmdebstrap --mode=root --variant=minbase --include="$packages" --aptopt="$settings" \
  --setup-hook='for d in auth.conf.d keyrings trusted.gpg.d; do [ ! -d /etc/apt/$d ] || cp -r /etc/apt/$d "$1/etc/apt/"; done' \
  --setup-hook='mkdir -p "$1/usr/local/share" && cp -rL /usr/local/share/ca-certificates "$1/usr/local/share/" 2>/dev/null || true' \
  bookworm "$target" "${sources[@]}"
