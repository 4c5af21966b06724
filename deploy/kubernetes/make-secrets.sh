#!/bin/sh
# Make the Secrets of an installation that has databases of its own (overlays/dev), each value anew.
# Nothing is overwritten: another secret-key ends all sessions, another audit-signing-key breaks the trail's signatures.
# Vendors' keys are taken from OPENAI_API_KEY and ANTHROPIC_API_KEY; without them the fleet runs skills only.
set -eu
namespace=${1:?"usage: make-secrets.sh NAMESPACE"}
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/keys" "$folder/stores" "$folder/vendors"

openssl rand -hex 32 >"$folder/keys/secret-key"
openssl genpkey -algorithm ed25519 >"$folder/keys/audit-signing-key"
: >"$folder/keys/oidc-client-secret"
for name in postgres redis mongo mongo-archive mongo-root; do
    openssl rand -hex 24 | tr -d '\n' >"$folder/stores/$name-password"
done
printf %s "${OPENAI_API_KEY:-}" >"$folder/vendors/openai-api-key"
printf %s "${ANTHROPIC_API_KEY:-}" >"$folder/vendors/anthropic-api-key"

for name in keys stores vendors; do
    if kubectl --namespace "$namespace" get secret "orchestrator-$name" >/dev/null 2>&1; then
        echo "orchestrator-$name is there already, and stays as it is"
    else
        kubectl --namespace "$namespace" create secret generic "orchestrator-$name" --from-file="$folder/$name"
    fi
done
