#!/usr/bin/env bash
# Installs what builds packages into $TOOLS, at the versions below; a second call installs nothing.
# The compiler for C and the linker come with ziglang, whose headers know each version of glibc. What makes packages is
# compared with a SHA-256: a wheel before it is installed, a crate before it is used.
set -euo pipefail

readonly wheels=(ziglang==0.15.2 cargo-zigbuild==0.24.0 kubernetes-validate==1.37.0)
readonly crates=(cargo-deb@3.8.0 cargo-auditable@0.7.7 cargo-cyclonedx@0.5.9) book=mdbook@0.5.4
readonly hashes=(
  806316453d1ede7174ed3fefb8e5348154629089c3bb5fe812dfd0e172fac130 484412e39e4c6039474535ce97ee75a22bab22d58233056f8ec8a8f9034bb957
  85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9 201780f7056812fe4d8078b2772c1a222c56fa924cd2aafa1aaf74ff2777e188
  ccdd489bc94d1338cd04389a842e00661300331ec915fb376b4810ef7d480b5d 5d162f67705f0f5038759d73bf546a083bf30e8677c2e944b416bca48d9d69a8
  5f68ffebcd0b9a4eb72aaacc4342bc94e1d63c01893b7c921437f6ef02443699
)
# What kubernetes-validate, which makes no package, is made of.
readonly validator=(attrs==26.1.0 importlib_resources==7.1.0 jsonschema==4.26.0 packaging==26.4 PyYAML==6.0.4 typing_extensions==4.16.0)

# The file of a crate that cargo has fetched.
crate_file() { find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "${1/@/-}.crate" | head -n 1; }

mkdir -p "$TOOLS"
wanted="$(python3 --version) ${wheels[*]}"
if [ "$(cat "$TOOLS/python/installed" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$TOOLS/python"
  python3 -m venv "$TOOLS/python"
  for at in "${!wheels[@]}"; do echo "${wheels[at]} --hash=sha256:${hashes[at]}"; done >"$TOOLS/python/wheels"
  "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$TOOLS/python/wheels"
  "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check "${validator[@]}"
  printf '%s\n' "$wanted" >"$TOOLS/python/installed"
fi
if [ "$(cat "$TOOLS/installed" 2>/dev/null)" != "${crates[*]} $book --debug" ]; then
  # They run for seconds: the time to build them matters, not how fast they are, except the packer, which is in C.
  CFLAGS=-O2 CARGO_PROFILE_DEV_DEBUG=0 \
    cargo install --debug --quiet --locked --root "$TOOLS" --target-dir "$TOOLS/build" "${crates[@]}"
  # Without the server and the watcher, which are most of it.
  CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --quiet --locked --root "$TOOLS" --target-dir "$TOOLS/build" \
    --no-default-features --features search "$book"
  rm -rf "$TOOLS/build"
  names=("${crates[@]}" "$book")
  for at in "${!names[@]}"; do
    sha256sum --check --quiet <<<"${hashes[at + ${#wheels[@]}]}  $(crate_file "${names[at]}")" || { rm -rf "$TOOLS/bin"; exit 1; }
  done
  printf '%s\n' "${crates[*]} $book --debug" >"$TOOLS/installed"
fi
