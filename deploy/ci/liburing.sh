#!/usr/bin/env bash
# Prints the directory of the liburing that is in the crate glommio, by `cargo metadata`. With GLOMMIO_LIBURING_DIR set
# to it, glommio's build script uses it as it is; without, it runs `git submodule update --init` first, in whatever
# repository the build is.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
cargo metadata --locked --format-version 1 | python3 -c '
import json, pathlib, sys
packages = json.load(sys.stdin)["packages"]
manifest = next(package["manifest_path"] for package in packages if package["name"] == "glommio")
print(pathlib.Path(manifest).parent / "liburing")'
