"""Which of Airflow's executors the GPU's tasks go to.

Where an Edge executor is configured, a GPU host is an Edge worker of the queue `gpu`, which calls
the API server and needs neither database nor broker. Asked of Airflow's own setting, so that no
host can name an executor that it does not know: its DAGs could not be read there.
"""

from __future__ import annotations

from airflow.sdk.configuration import conf

_EDGE = "EdgeExecutor"


def gpu_executor() -> str | None:
    """The Edge executor by the name that the setting has for it; None: the first of the setting."""
    listed = [entry.strip() for entry in conf.get("core", "executor").split(",")]
    # An entry is a name or a path, and may have an alias before it.
    names = [entry.split(":")[0] for entry in listed if entry.endswith(_EDGE)]
    return names[0] if names else None
