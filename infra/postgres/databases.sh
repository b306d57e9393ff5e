#!/usr/bin/env bash
# Run by the postgres image on an empty volume: one database a server, owned by the user of both.
set -euo pipefail
for database in mlflow prefect; do
    psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --command "create database $database owner \"$POSTGRES_USER\""
done
# Prefect's search needs it.
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname prefect \
    --command "create extension if not exists pg_trgm"
