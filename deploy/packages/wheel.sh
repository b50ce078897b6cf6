#!/usr/bin/env bash
# Packs $STAGE as wheels into $DIST: one with the programs and the plugin for pytest, and one for every other system, whose
# command says what to do there.
set -euo pipefail

python3 deploy/packages/wheel/build.py
