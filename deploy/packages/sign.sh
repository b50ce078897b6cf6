#!/usr/bin/env bash
# Signs SHA256SUMS, and with it everything in $DIST, by the secret key of minisign in the file $MINISIGN_KEY:
# SHA256SUMS.minisig. Asks for the key's password, if it has one and there is a terminal.
set -euo pipefail

[ -n "${MINISIGN_KEY:-}" ] || { echo "MINISIGN_KEY must be the file of a secret key: minisign -G makes one"; exit 2; }
cd "$DIST"
sha256sum --check --quiet SHA256SUMS
terminal=/dev/tty
(: <"$terminal") 2>/dev/null || terminal=/dev/null
minisign -S -s "$MINISIGN_KEY" -m SHA256SUMS -t "heliograph $VERSION" <"$terminal"
