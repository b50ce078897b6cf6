# What deploy/release.sh and the scripts that try packages have in common, which source it: a line for each thing that was
# seen, and the first that is not ends the script with exit code 1.
seen() { echo "seen: $*"; }
fail() { echo "FAILED: $*"; exit 1; }

# Runs a command and shows what it printed if it fails. `place` is a directory of the script's own.
quietly() { "$@" >"$place/output" 2>&1 || { cat "$place/output"; fail "$*"; }; }

# The processors that packages are made for. With aarch64 a run takes twice as long: ARCHITECTURES="x86_64 aarch64".
readonly architectures="${ARCHITECTURES:-x86_64}"

# In the repository: the version of the packages.
packaged_version() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml; }
