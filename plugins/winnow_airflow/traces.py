"""A batch as one trace in OpenTelemetry's words, where Airflow's `[traces] otel_on` is.

    batch NAME KEY      from the first run that was made for it until the chain ends or fails
      STAGE             a run of the stage's DAG, each time that it is cleared
        TASK            a try of a task, of a shard; a wait for labels or for a person is one

Every id follows from campaign and key (`winnow.ids`), so processes on any host find each other
without a word. A span goes out when what it tells of has ended, by Airflow's own exporter, with a
link to Airflow's span of the same. What failed and goes on later is sent again: its batch has the
same id, its stage another one.

A listener: tasks are heard of in their own processes, runs in the scheduler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from datetime import UTC, datetime
from typing import Any

from airflow.listeners import hookimpl

from winnow_airflow.plain_log import plain_logger

Attributes = Mapping[str, Any]

BY_HAND = "a person marked it as failed"

log = plain_logger(__name__)


@hookimpl
def on_task_instance_success(task_instance: Any) -> None:
    """Tell of a try that went well."""
    _quietly(_tell_try, task_instance, "success")


@hookimpl
def on_task_instance_skipped(task_instance: Any) -> None:
    """Tell of a try that found nothing to do."""
    _quietly(_tell_try, task_instance, "skipped")


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any, error: Any) -> None:
    """Tell of a try that failed, for good or not; a person who marks it gives no state before."""
    _quietly(_tell_try, task_instance, "failed", error if previous_state else BY_HAND)


@hookimpl
def on_dag_run_success(dag_run: Any) -> None:
    """Tell of a stage that ended, and of its batch if it was the last one."""
    _quietly(_tell_run, dag_run, None)


@hookimpl
def on_dag_run_failed(dag_run: Any) -> None:
    """Tell of a stage that failed, and of its batch."""
    _quietly(_tell_run, dag_run, "a task failed, or none could go on")


def _quietly(tell: Any, about: Any, *more: Any) -> None:
    """Tell of a task or a run of a stage, if traces are on; what goes wrong there is logged."""
    from opentelemetry import trace

    # Where traces are off the provider is a stand-in that samples nothing.
    provider = trace.get_tracer_provider()
    if getattr(provider, "sampler", None) is None:
        return
    from winnow.stages.tasks import stage_of

    if stage_of(about.dag_id) is None:
        return
    try:
        tell(provider, about, *more)
    except Exception as error:
        log.warning("The trace lacks a span: %s", _cause_of(error))


def _cause_of(error: Any) -> str:
    if error == BY_HAND:
        return BY_HAND
    # With libraries of 150 MB behind it, which the scheduler goes without while nothing is wrong.
    from winnow.operate.alarms import cause_of

    return cause_of(error)


def _tell_try(provider: Any, ti: Any, state: str, error: Any = None) -> None:
    from opentelemetry import trace

    # A task that was killed, or marked by hand, is a row of the database in another process.
    row = getattr(ti, "dag_run", None)
    dag_run = row or ti.get_template_context()["dag_run"]
    place = [ti.run_id, ti.task_id, ti.map_index or 0, ti.try_number]
    shard = "" if ti.map_index is None or ti.map_index < 0 else f"[{ti.map_index}]"
    _send(
        provider,
        dag_run,
        f"{ti.task_id}{shard}",
        ["try", *place],
        _stage_parts(dag_run),
        (ti.start_date, ti.end_date),
        {
            "airflow.task_id": ti.task_id,
            "airflow.task_instance.try_number": ti.try_number,
            "airflow.task_instance.map_index": -1 if ti.map_index is None else ti.map_index,
            "airflow.task_instance.state": state,
            **(_figures_of_task(ti) if state == "success" and row is None else {}),
        },
        _cause_of(error) if state == "failed" else None,
        [trace.get_current_span().get_span_context()],
    )


def _figures_of_task(ti: Any) -> dict[str, Any]:
    """What the task returned, and the metrics that it emits."""
    from winnow.stages.tasks import TASKS
    from winnow_airflow.policy import done_of

    done = done_of(ti.get_template_context())
    metrics = {metric.name: metric.of(done) for metric in TASKS[ti.task_id].metrics}
    return {**_figures(done.result), **_figures(metrics)}


def _tell_run(provider: Any, dag_run: Any, fault: str | None) -> None:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    from sqlalchemy import select

    from winnow.stages.tasks import dag_ids, stage_of
    from winnow_airflow.context import assets_of, campaign_name

    campaign, stage = campaign_name(dag_run.dag_id), stage_of(dag_run.dag_id)
    dags, key = dag_ids(campaign), dag_run.partition_key
    names = {asset.name: of for of, asset in assets_of(campaign).items()}
    of_key = (
        select(AssetModel.name, AssetEvent)
        .join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
        .where(AssetModel.name.in_(names), AssetEvent.partition_key == key)
        .order_by(AssetEvent.timestamp)
    )
    # Not the scheduler's own, which is in the midst of its work.
    with create_session(scoped=False) as session:
        told = [(names[name], event) for name, event in session.execute(of_key)]
        runs = select(DagRun.created_at, DagRun.start_date).where(
            DagRun.dag_id.in_(dags.values()), DagRun.partition_key == key
        )
        times = [at for run in session.execute(runs) for at in run if at is not None]
    begun = min(times, default=dag_run.start_date)
    # `reconcile` announces too, and counts nothing.
    summaries = {of: event.extra for of, event in told if event.source_dag_id == dags[of]}
    own = [event for _, event in told if event.source_run_id == dag_run.run_id]
    carrier = TraceContextTextMapPropagator().extract(dag_run.context_carrier or {})
    _send(
        provider,
        dag_run,
        stage,
        _stage_parts(dag_run),
        [],
        (dag_run.start_date, dag_run.end_date),
        {
            "airflow.dag_run.state": str(dag_run.state),
            **(_figures(own[-1].extra) if own else {}),
        },
        fault,
        [trace.get_current_span(carrier).get_span_context()],
    )
    goes_on = own and stage != [*dags][-1]
    # A batch that was through before is gone through again: nothing is added to it.
    was_told = any(of == stage and event.timestamp < dag_run.start_date for of, event in told)
    if fault is None and (goes_on or was_told):
        return
    figures = {f"{of}.{k}": v for of, each in summaries.items() for k, v in each.items()}
    span = (begun, dag_run.end_date)
    attributes = {"winnow.last_stage": stage, **_figures(figures)}
    _send(provider, dag_run, f"batch {campaign} {key}", [], None, span, attributes, fault, [])


def _stage_parts(dag_run: Any) -> list[Any]:
    return ["stage", dag_run.dag_id, dag_run.run_id, dag_run.clear_number or 0]


def _figures(given: Any) -> dict[str, Any]:
    """Counts and other figures as attributes of a span; texts and what is nested are none."""
    if not isinstance(given, Mapping):
        return {}
    return {f"winnow.{k}": v for k, v in given.items() if isinstance(v, int | float)}


def _send(
    provider: Any,
    dag_run: Any,
    name: str,
    parts: Iterable[Any],
    parent: Iterable[Any] | None,
    between: tuple[datetime | None, datetime | None],
    attributes: Attributes,
    fault: str | None,
    links: Iterable[Any],
) -> None:
    """Send one span of a batch's trace.

    Args:
        provider: Airflow's tracer provider, with its exporter.
        dag_run: The run that it is in, or that ended the batch.
        name: What people read.
        parts: What its id is made of, beside campaign and key.
        parent: The same of the span around it; None for the root.
        between: When it began and ended.
        attributes: Beside campaign, batch and run.
        fault: What went wrong, if anything did.
        links: Contexts of Airflow's own spans; those that are none are left away.
    """
    from airflow.sdk.log import redact
    from opentelemetry import trace
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import Decision
    from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

    from winnow.ids import span_id, trace_id
    from winnow_airflow.context import batch_key, campaign_name

    campaign, key = campaign_name(dag_run.dag_id), batch_key(dag_run)
    of_trace = int(trace_id(campaign, key), 16)

    class Named(RandomIdGenerator):
        """Gives the ids that were computed."""

        def generate_trace_id(self) -> int:
            return of_trace

        def generate_span_id(self) -> int:
            return int(span_id(campaign, key, *parts), 16)

    context = trace.context_api.Context()
    if parent is not None:
        # What a sampler says of the trace it says of each span, whichever process asks.
        sampled = provider.sampler.should_sample(None, of_trace, "batch").decision
        flags = TraceFlags(TraceFlags.SAMPLED if sampled is Decision.RECORD_AND_SAMPLE else 0)
        above = SpanContext(of_trace, int(span_id(campaign, key, *parent), 16), True, flags)
        context = trace.set_span_in_context(trace.NonRecordingSpan(above), context)
    # The provider gives every thread of an API server the same one.
    tracer = copy(provider.get_tracer("winnow"))
    tracer.id_generator = Named()
    began, ended = (_nanoseconds(at or datetime.now(UTC)) for at in between)
    span = tracer.start_span(
        name,
        context,
        attributes={
            "winnow.campaign": campaign,
            "winnow.batch": key,
            "airflow.dag_id": dag_run.dag_id,
            "airflow.dag_run.run_id": dag_run.run_id,
            **attributes,
        },
        links=[Link(each) for each in links if each.is_valid],
        start_time=min(began, ended),
    )
    fine = Status(StatusCode.OK)
    span.set_status(fine if fault is None else Status(StatusCode.ERROR, str(redact(fault))))
    span.end(ended)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e9)
