# Prefect: order, limits and schedules, in PostgreSQL.

prefect_start() {
    hand_over prefect "$DIR/prefect"
    # Leases on disk: limits held when a server restarts would else stay taken for ever.
    PGHOST=127.0.0.1 PGPORT=$POSTGRES_PORT PGUSER=prefect PGPASSWORD=$PREFECT_DATABASE_PASSWORD \
        PREFECT_HOME=$DIR/prefect \
        PREFECT_API_DATABASE_CONNECTION_URL=postgresql+asyncpg:///prefect \
        PREFECT_SERVER_API_AUTH_STRING=modelsoup:$PREFECT_PASSWORD \
        PREFECT_SERVER_API_HOST=127.0.0.1 PREFECT_SERVER_API_PORT=$PREFECT_PORT \
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS="http://127.0.0.1:$PREFECT_PORT,http://localhost:$PREFECT_PORT" \
        PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem \
        PREFECT_SERVER_METRICS_ENABLED=true PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 \
        PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false \
        PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL=WARNING \
        launch prefect python -m uvicorn flows.server.asgi:app --host 127.0.0.1 --port "$PREFECT_PORT" \
        --log-level warning
}

prefect_runs() { runs prefect; }
prefect_healthy() { answers "$PREFECT_PORT" /api/health 200; }
prefect_stop() { ! runs prefect || { quit prefect && echo "stopped prefect"; }; }
prefect_kill() { end prefect; }
