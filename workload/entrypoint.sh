#!/bin/sh
# The containers' entry point: starts as root, becomes the user `pong`, and runs its arguments.
#
# Folders mounted from outside belong to root, and a process of another user that writes there fails without a word:
# the volumes of the run directory and of the scenario, and the folder in which the platform waits for the Antithesis
# SDK's output. So they are given to the user first, but what is mounted to be read only.
set -eu

if [ "$(id -u)" -eq 0 ]; then
    for folder in /runs /scenario "${ANTITHESIS_OUTPUT_DIR:-}"; do
        if [ -w "$folder" ]; then chown -R pong:pong "$folder"; fi
    done
    export HOME=/home/pong USER=pong
    exec setpriv --reuid=pong --regid=pong --init-groups -- "$@"
fi
exec "$@"
