#!/usr/bin/env bash
# Installs what builds packages into $TOOLS, at the versions below; a second call installs nothing.
# The compiler for C and the linker come with ziglang, whose headers know each version of glibc.
set -euo pipefail

readonly wheels=(ziglang==0.15.2 cargo-zigbuild==0.24.0 kubernetes-validate==1.37.0)
readonly crates=(cargo-deb@3.8.0 cargo-auditable@0.7.7 cargo-cyclonedx@0.5.9)

mkdir -p "$TOOLS"
wanted="$(python3 --version) ${wheels[*]}"
if [ "$(cat "$TOOLS/python/installed" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$TOOLS/python"
  python3 -m venv "$TOOLS/python"
  "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check "${wheels[@]}"
  printf '%s\n' "$wanted" >"$TOOLS/python/installed"
fi
if [ "$(cat "$TOOLS/installed" 2>/dev/null)" != "${crates[*]}" ]; then
  cargo install --quiet --locked --root "$TOOLS" "${crates[@]}"
  printf '%s\n' "${crates[*]}" >"$TOOLS/installed"
fi
