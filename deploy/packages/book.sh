#!/usr/bin/env bash
# Makes a book with a search of the pages: $STAGE/book/html, which packages hold, and an archive of it in $DIST.
set -euo pipefail

book="$STAGE/book"
python3 deploy/packages/book.py stage "$book"
mdbook build "$book"
python3 deploy/packages/book.py check "$book"
bash deploy/packages/archive.sh "$DIST/heliograph-$VERSION-book.tar.gz" "$book/html"
