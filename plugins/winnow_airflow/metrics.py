"""Winnow's figures in Airflow's own metrics: StatsD, Datadog or OpenTelemetry, as Airflow has it.

A counter grows by what a batch did, a gauge holds what the last batch came to; the table of tasks
says which are whose. They are emitted when a task is done, once a batch: one that runs again counts
nothing twice. Each carries the campaign as a tag (plain StatsD drops tags;
`docker/statsd-mapping.yml` says what to set).
"""

from __future__ import annotations

from winnow.stages.tasks import METRICS, TASKS, Done


def stand(campaign: str) -> None:
    """Add nothing to each counter of a campaign, so that it stands there before a night counts.

    Prometheus counts from the first figure that it sees: what a counter begins with would be lost,
    the first night's and each after the exporter was started anew.
    """
    from airflow.sdk.observability import stats

    for metric in METRICS:
        if metric.kind == "counter":
            stats.incr(f"winnow.{metric.name}", 0, tags={"campaign": campaign})


def emit(done: Done) -> None:
    """Emit what the task gives, unless an earlier run of it has."""
    from winnow.batch import batch_folder

    wanted = TASKS[done.task].metrics
    verdict = f"-{str(done.result)[-24:-8]}" if done.task == "check_labels" else ""
    note = f"{batch_folder(done.campaign.name, done.key)}/emitted/{done.task}{verdict}"
    if not wanted or not done.lake.create(note, b""):
        return
    from airflow.sdk.observability import stats

    tags = {"campaign": done.campaign.name}
    for metric in wanted:
        value = metric.of(done)
        if value is None:
            continue
        if metric.kind == "counter":
            # Airflow's types say int; StatsD and OpenTelemetry count dollars as well.
            stats.incr(f"winnow.{metric.name}", value, tags=tags)  # type: ignore[arg-type]
        else:
            stats.gauge(f"winnow.{metric.name}", value, tags=tags)
