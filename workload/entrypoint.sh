#!/bin/sh
# The containers' entry point: starts as root, becomes the user `pong`, and runs its arguments.
#
# Folders mounted from outside belong to root, and a process of another user that writes there fails without a word:
# the run directory's volume, and the folder in which the platform waits for the Antithesis SDK's output. So both are
# given to the user first.
set -eu

if [ "$(id -u)" -eq 0 ]; then
    for folder in /runs "${ANTITHESIS_OUTPUT_DIR:-}"; do
        if [ -d "$folder" ]; then chown -R pong:pong "$folder"; fi
    done
    export HOME=/home/pong USER=pong
    exec setpriv --reuid=pong --regid=pong --init-groups -- "$@"
fi
exec "$@"
