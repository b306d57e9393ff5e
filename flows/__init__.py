"""The pipeline as Prefect flows: order, fan-out, retries. What is done stands in `soup/`."""

import os

# Before Prefect is imported, which reads them. Nothing phones home unless the user asks for it; the
# terminal belongs to our own progress, while the server keeps every log line.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
# infra/prefect/automations.yaml marks runs as crashed that miss four of these.
os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a fine-tune
