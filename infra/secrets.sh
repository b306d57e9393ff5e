#!/usr/bin/env bash
# Make what containers need to know and must not be in git: .env (from .env.example, every empty
# secret filled in at random) and a self-signed certificate. What exists stays as it is.
#   infra/secrets.sh [HOST]     the name that browsers will use; default localhost
set -euo pipefail
cd "$(dirname "$0")/.."
host=${1:-localhost} tls=infra/proxy/tls
umask 077
# It stands in a file that shells and compose read, and in a certificate.
[[ $host =~ ^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$ ]] || {
    echo "error: '$host' is no host name: letters, digits, '.' and '-' only" >&2
    exit 2
}

if [ -e .env ]; then
    echo ".env exists and stays as it is"
else
    while IFS= read -r line; do
        case $line in
            \#*) printf '%s\n' "$line" ;;
            PUBLIC_HOST=*) printf 'PUBLIC_HOST=%s\n' "$host" ;;
            SOUP_UID=*) printf 'SOUP_UID=%s\n' "$(id -u)" ;;
            SOUP_GID=*) printf 'SOUP_GID=%s\n' "$(id -g)" ;;
            *=) printf '%s%s\n' "$line" "$(openssl rand -hex 24)" ;;
            *) printf '%s\n' "$line" ;;
        esac
    done <.env.example >.env.part
    mv .env.part .env
    echo "wrote .env"
fi

if [ -e "$tls/key.pem" ]; then
    echo "$tls exists and stays as it is"
else
    mkdir -p "$tls"
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=$host" \
        -addext "subjectAltName=DNS:$host,IP:127.0.0.1" \
        -keyout "$tls/key.pem" -out "$tls/cert.pem" 2>/dev/null
    echo "wrote $tls (self-signed, for $host; put a certificate of your own there instead)"
fi

# What is mounted has to be there, or Docker makes it root's.
mkdir -p .cache/metrics .cache/ui .services
