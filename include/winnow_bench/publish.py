"""The publish bench: a batch of any size aggregated, validated and published, beside plain DuckDB.

One process does what the tasks of a night do with annotations that are home: aggregate them, hold
them against the gate, publish a version. Its peak memory is the kernel's figure. Another process
does the same scans in plain DuckDB, with nearly all of the machine's memory: votes counted by pair,
the gate's queries, and the views written by DuckDB's own Parquet writer. What it leaves out is what
the difference pays for: Great Expectations, splits, files that are the same bytes each time,
digests, the card and the report.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from winnow.batch import Batch, open_batch, table_files
from winnow.campaign import parse_campaign
from winnow.lake import FolderLake
from winnow.sql import database
from winnow_bench.document import in_a_process, machine, peak_mib, write_report
from winnow_bench.publish_world import make_batch

Row = dict[str, Any]
Steps = dict[str, float]

STEPS = ("aggregate", "validate", "publish")
_KEY = "2026-11-22"
_CAMPAIGN = {
    "name": "bench",
    "ingest": {"sources": ["none"]},
    "expand": {"model": "none"},
    "label": {"budget_usd": 1e9},
    "publish": {"dataset": "bench"},
}


def run(n_annotations: int, out: Path, say: Callable[[str], None]) -> Row:
    """Measure, print, and write `out`/publish.json."""
    with tempfile.TemporaryDirectory(prefix="winnow-bench-", dir=out.parent) as folder:
        home = in_a_process(_make, folder, n_annotations)
        say(f"{home['annotations']:,} annotations on {home['pairs']:,} pairs were made up")
        plain = in_a_process(_plain, folder, home)
        say(f"plain DuckDB: {_steps(plain['seconds'])}")
        ours = in_a_process(_ours, folder, home)
        say(f"winnow: {_steps(ours['seconds'])}, peak {ours['peak_mib']:,.0f} MiB")
        size = sum(f.stat().st_size for f in Path(folder).rglob("*.parquet")) / 1e6
    report = {
        "annotations": home["annotations"],
        "pairs": home["pairs"],
        "megabytes": size,
        "winnow": ours,
        "duckdb": plain,
        "ratio": {step: ours["seconds"][step] / plain["seconds"][step] for step in STEPS},
        "machine": machine(),
    }
    write_report(out, "publish", report)
    say(summary(report))
    return report


def summary(report: Row) -> str:
    """The report in two sentences."""
    seconds, peak = sum(report["winnow"]["seconds"].values()), report["winnow"]["peak_mib"]
    plain = sum(report["duckdb"]["seconds"].values())
    each = ", ".join(f"{step} {report['ratio'][step]:.1f}" for step in STEPS)
    return (
        f"{report['annotations']:,} annotations aggregated, validated and published in "
        f"{seconds:,.0f} s ({report['annotations'] / seconds:,.0f} a second), in "
        f"{peak:,.0f} MiB at most. Plain DuckDB takes {plain:,.0f} s for the same scans, in "
        f"{report['duckdb']['peak_mib']:,.0f} MiB; times its seconds: {each}."
    )


def _steps(seconds: Steps) -> str:
    return ", ".join(f"{step} {took:.1f} s" for step, took in seconds.items())


def _batch(folder: str) -> Batch:
    campaign = parse_campaign(_CAMPAIGN, "the publish bench")
    now = datetime(2026, 11, 23, tzinfo=UTC)
    return open_batch(campaign, _KEY, FolderLake(Path(folder)), lambda: now)


def _make(folder: str, n_annotations: int) -> Row:
    home = make_batch(_batch(folder), n_annotations)
    pairs = _batch(folder).require("select").outputs["comparisons"].n_rows
    return {"annotations": home.annotations.n_rows, "pairs": pairs, "home": home}


def _ours(folder: str, made: Row) -> Row:
    from winnow.stages import publish
    from winnow.stages.label.results import commit_results

    batch, seconds = _batch(folder), Steps()
    with _timed(seconds, "aggregate"):
        commit_results(batch, made["home"])
    with _timed(seconds, "validate"):
        verdict = publish.check(batch)
    with _timed(seconds, "publish"):
        publish.version(batch, verdict)
    return {"seconds": seconds, "peak_mib": peak_mib() or 0.0}


def _plain(folder: str, made: Row) -> Row:
    """The same scans of the same files; preferences are the count of votes."""
    from winnow.campaign import Validate
    from winnow.label.database import add_views
    from winnow.publish.labelled import Labelled
    from winnow.publish.views import BLOCK_OF, LISTWISE, QUERIES, VIEWS, prepare
    from winnow.validate.annotators import READING, timed_counts
    from winnow.validate.profile import COUNTS
    from winnow.validate.rows import row_checks

    batch, seconds, limits = _batch(folder), Steps(), Validate()
    stored = {
        **{n: batch.require(s).outputs[n] for n, s in _EARLIER.items()},
        "tasks": made["home"].tasks,
        "annotations": made["home"].annotations,
    }
    with table_files(batch.lake, stored) as files, database(files, "80%") as connection:
        with _timed(seconds, "aggregate"):
            add_views(connection)
            connection.execute(_COUNTED)
        with _timed(seconds, "validate"):
            connection.execute(READING)
            for check in row_checks():
                connection.sql(check.sql).fetchall()
            timed_counts(connection, limits)
            connection.sql(COUNTS, params={"speed": limits.max_chars_per_second}).fetchall()
        with _timed(seconds, "publish"):
            prepare(Labelled(_KEY, connection), 0.5)
            target = Path(folder) / "plain"
            target.mkdir()
            whole = {"start": 0, "end": 1 << 40, "low": 0.0, "high": 1.0}
            for view, (query, order) in QUERIES.items():
                if view == LISTWISE:
                    continue
                columns = ", ".join(name for name in VIEWS[view].names if name != "batch")
                used = {k: v for k, v in whole.items() if f"${k}" in BLOCK_OF + query}
                connection.execute(
                    f"COPY ({BLOCK_OF} SELECT {columns} FROM ({query}) ORDER BY {order}) "
                    f"TO '{target / view}.parquet' (COMPRESSION zstd)",
                    used,
                )
            shutil.rmtree(target)
    return {"seconds": seconds, "peak_mib": peak_mib() or 0.0}


_EARLIER = {"prompts": "ingest", "responses": "expand", "comparisons": "select"}
_COUNTED = """
CREATE TABLE preferences AS
WITH counted AS (
    SELECT pair_id, count(*) FILTER (preferred = 'first') AS n_first,
        count(*) FILTER (preferred = 'second') AS n_second, count(*)::INT AS votes
    FROM votes GROUP BY pair_id
)
SELECT j.n AS row_n, pair_id, prompt_id, first_id, second_id,
    CASE WHEN n_first > n_second THEN 'first' WHEN n_first < n_second THEN 'second' ELSE 'tie' END
        AS preferred,
    (n_first + 1) / (n_first + n_second + 2) AS p_preferred, votes,
    CASE WHEN votes > 1 THEN greatest(n_first, n_second) / votes END AS agreement,
    (SELECT sum(price) FROM latest WHERE latest.pair_id = j.pair_id)::BIGINT AS cost
FROM judged_pairs AS j JOIN counted USING (pair_id)
"""


@contextmanager
def _timed(seconds: Steps, step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - started
