#!/bin/sh
# What ANTITHESIS_STOP_FAULTS names where workload/local_antithesis.py plays the platform: asks for SECONDS without faults.
#
#     "$ANTITHESIS_STOP_FAULTS" 60
set -eu
echo "$(($(date +%s) + $1))" > /tmp/quiet-until
