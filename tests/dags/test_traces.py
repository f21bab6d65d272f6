"""What a listener makes of a task that ended; a whole night's trace is test_operated_run's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)

from winnow.errors import Retryable
from winnow.ids import trace_id
from winnow_airflow import traces

BEGAN = datetime(2026, 11, 22, 2, tzinfo=UTC)


def failed(
    key: str, shard: int = 0, n_tries: int = 1, error: Any = None, before: str | None = "running"
) -> None:
    """Airflow tells of a try that failed."""
    name, run_id = "small.expand_pools", f"asset__{key}"
    run = SimpleNamespace(
        dag_id=name, run_id=run_id, partition_key=key, conf={}, clear_number=0, context_carrier={}
    )
    ti = SimpleNamespace(
        dag_id=name,
        task_id="generate_responses",
        run_id=run_id,
        map_index=shard,
        try_number=n_tries,
        start_date=BEGAN,
        end_date=BEGAN + timedelta(hours=3),
        dag_run=run,
    )
    traces.on_task_instance_failed(before, ti, error or Retryable("the engine is away"))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a provider with this sampler sends."""

    def start(sampler: Sampler | None = None) -> InMemorySpanExporter:
        provider, memory = TracerProvider(sampler=sampler), InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(memory))
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
        return memory

    return start


def ids(spans: tuple[ReadableSpan, ...]) -> list[tuple[int, int, int]]:
    return [(s.context.trace_id, s.context.span_id, s.parent.span_id) for s in spans if s.parent]


def test_a_try_has_the_same_ids_wherever_it_is_told_of_and_its_own_times(sent: Any) -> None:
    here, there = [], []
    for told in (here, there):
        memory = sent()
        for shard, n_tries in ((0, 1), (0, 2), (1, 1)):
            failed("2026-11-22", shard, n_tries)
        told += ids(memory.get_finished_spans())
    assert here == there and len({span for _, span, _ in here}) == 3
    assert {f"{of:032x}" for of, _, _ in here} == {trace_id("small", "2026-11-22")}
    assert len({above for _, _, above in here}) == 1
    span = memory.get_finished_spans()[0]
    assert (span.end_time - span.start_time) / 1e9 == 3 * 3600.0


def test_what_two_threads_tell_of_at_once_is_told_apart(sent: Any) -> None:
    class Between(StaticSampler):
        """Another thread tells of its try while the first one's span is begun."""

        n_calls = 0

        def should_sample(self, *args: Any, **more: Any) -> Any:
            self.n_calls += 1
            if self.n_calls == 2:
                other = Thread(target=failed, args=("2026-11-23",))
                other.start()
                other.join()
            return super().should_sample(*args, **more)

    apart = sent()
    for key in ("2026-11-23", "2026-11-22"):
        failed(key)
    together = sent(Between(Decision.RECORD_AND_SAMPLE))
    failed("2026-11-22")
    assert ids(together.get_finished_spans()) == ids(apart.get_finished_spans())


def test_an_error_that_is_not_winnows_is_told_by_its_kind(sent: Any) -> None:
    memory = sent()
    failed("2026-11-22", error=ValueError("s3://key:secret@bucket"))
    failed("2026-11-22", error="killed")
    failed("2026-11-22", error="TaskInstance's state was manually set", before=None)
    first, second, third = (str(span.status.description) for span in memory.get_finished_spans())
    assert first.startswith("ValueError") and "secret" not in first
    assert "without a word" in second
    assert third == traces.BY_HAND


def test_a_sampler_keeps_a_trace_whole_or_not_at_all(sent: Any) -> None:
    memory = sent(ParentBased(TraceIdRatioBased(0.5)))
    keys = [f"2026-11-{day:02}" for day in range(1, 31)]
    for key in keys:
        failed(key, 0)
        failed(key, 1)
    kept = [f"{of:032x}" for of, _, _ in ids(memory.get_finished_spans())]
    assert 0 < len(set(kept)) < len(keys)
    assert all(kept.count(each) == 2 for each in kept)


def test_where_traces_are_off_nothing_is_looked_at() -> None:
    traces.on_task_instance_success(SimpleNamespace(dag_id="small.expand_pools"))
    traces.on_dag_run_success(SimpleNamespace(dag_id="small.expand_pools"))


def test_what_goes_wrong_while_telling_is_logged(
    sent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert sent() is not None
    traces.on_dag_run_failed(SimpleNamespace(dag_id="small.expand_pools"))
    assert "The trace lacks a span: AttributeError" in caplog.text
