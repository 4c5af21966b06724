#!/bin/sh
# Hand the secrets of a folder, which deploy/compose/make-secrets.sh filled, to swarm. What swarm has stays as it is.
# swarm gives no secret back: keep the folder, apart from every backup of the databases.
#
#   sh deploy/swarm/create-secrets.sh [FOLDER]
set -eu
folder=${1:-${SECRETS_DIR:-./secrets}}
for file in "$folder"/*.txt; do
    name=$(basename "$file" .txt)
    if docker secret inspect "$name" >/dev/null 2>&1; then
        echo "$name is there already, and stays as it is"
    elif [ -s "$file" ]; then
        docker secret create "$name" "$file" >/dev/null
    else
        echo | docker secret create "$name" - >/dev/null  # swarm takes no empty one; a line is none to us
    fi
done
