#!/bin/sh
# Make every secret that docker-compose.yml names, in SECRETS_DIR (./secrets). What is there stays as it is: another
# secret_key would end all sessions, another password would no longer be the database's.
#
#   sh deploy/compose/make-secrets.sh [FOLDER]
#
# The folder is for its owner alone (700), and keeps everybody else from the files. The files themselves must be
# readable (644): Compose mounts them as they are, and the containers' users are others than you.
set -eu
folder=${1:-${SECRETS_DIR:-./secrets}}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"

# Write what a command prints to NAME.txt, whole or not at all.
keep() {
    file=$folder/$1.txt
    shift
    if [ -e "$file" ]; then
        echo "$file is there already, and stays as it is"
        return
    fi
    "$@" >"$file.new"
    chmod 644 "$file.new"
    mv "$file.new" "$file"
}

random() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }

# An Ed25519 key in PEM is 32 random bytes behind a fixed head (RFC 8410).
signing_key() {
    echo "-----BEGIN PRIVATE KEY-----"
    { printf '\060\056\002\001\000\060\005\006\003\053\145\160\004\042\004\040'; head -c 32 /dev/urandom; } | base64
    echo "-----END PRIVATE KEY-----"
}

for name in secret_key postgres_admin_password postgres_password mongo_root_password mongo_password \
    mongo_archive_password redis_password grafana_password; do
    keep "$name" random
done
keep audit_signing_key signing_key
# These come from elsewhere; empty means that there is none.
for name in openai_api_key anthropic_api_key oidc_client_secret alertmanager_token; do
    keep "$name" true
done
echo "The secrets are in $folder. Vendors' keys go into openai_api_key.txt and anthropic_api_key.txt there."
