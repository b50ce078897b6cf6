#!/usr/bin/env bash
# Packs $STAGE as wheels into $DIST: one with the programs for $ARCH and the plugin for pytest, one for every other system,
# whose command says what to do there, and a source archive, whose build says the same.
set -euo pipefail

python3 deploy/packages/wheel/build.py
