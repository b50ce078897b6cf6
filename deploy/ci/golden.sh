#!/usr/bin/env bash
# Writes the files of broker/tests/data/golden anew, for an intended change of what users and scripts see. The tests that
# compare them (broker/tests/live/golden.rs, loadgen/tests/golden.rs) are in the gate.
set -euo pipefail
cd "$(dirname "$0")/../.."
RENEW=1 cargo test --locked -p broker -p loadgen --test live --test load golden::
echo "written; look at what is different: git diff broker/tests/data/golden"
