#!/usr/bin/env bash
# archive.sh FILE.tar.gz DIR: packs a directory's contents. The same bytes for the same contents: sorted, of root, of one time.
set -euo pipefail

tar --create --directory "$2" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
  --format=gnu . | gzip --no-name --best >"$1"
