"""What the machine does while a run goes on: use of CPU, memory, disk, network and GPUs over time.

MLflow's own monitor, told its run and its store; MLflow's process-wide active run is not touched.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from soup.tracking.store import Store

SECONDS = 10.0  # between two samples


@contextmanager
def log_system_metrics(
    store: Store, run_id: str, say: Callable[[str], None], seconds: float = SECONDS
) -> Iterator[None]:
    """Log 'system/...' metrics to a run; where that is not possible, say so and do without.

    Args:
        say: told of what does not work.
        seconds: between two samples.
    """
    monitor = None
    try:
        import mlflow.system_metrics.system_metrics_monitor as metrics

        # It would warn of a run that ends between two samples, which is how every run ends.
        logging.getLogger(metrics.__name__).setLevel(logging.ERROR)
        monitor = metrics.SystemMetricsMonitor(
            run_id, sampling_interval=seconds, resume_logging=True, tracking_uri=store.uri
        )
        monitor.start()
    except Exception as error:  # psutil missing, a driver that does not answer, ...: never fatal
        say(
            f"no system metrics in MLflow: {type(error).__name__}: {error} "
            "(psutil reads CPU and memory, nvidia-ml-py GPUs; compute.system_metrics: false)"
        )
        monitor = None
    try:
        yield
    finally:
        if monitor is not None:
            monitor.finish()
