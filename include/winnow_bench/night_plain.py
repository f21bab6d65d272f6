"""The least that each step of a night has to read, read by plain DuckDB.

The same columns of the same files, and an aggregation that makes DuckDB decode them: nothing is
checked, chosen or written. Files are known by their columns, wherever a version of Winnow puts
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from winnow_bench.night_steps import Night, Used, measured

_MEMORY = "4GB"


def scan(night: Night, step: str) -> Used:
    """What the step's scan takes."""
    queries = _QUERIES[step](night)
    spill = f"{night.world.folder}/plain"
    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": spill}) as connection:
        _, used = measured(lambda: [connection.sql(query).fetchall() for query in queries])
    return used


def _ingest(night: Night) -> list[str]:
    folder = night.world.prompt_files / night.batch.day
    if night.world.brought:
        return _pools_of(sorted(folder.glob("*.parquet")))
    files = _list(folder.glob("*.jsonl"))
    columns = "{prompt: 'VARCHAR', messages: 'JSON', language: 'VARCHAR', tags: 'VARCHAR[]'}"
    return [
        f"SELECT count(DISTINCT coalesce(prompt, messages::VARCHAR)) FROM read_json({files}, "
        f"columns = {columns}, ignore_errors = true)"
    ]


def _read(night: Night) -> list[str]:
    files = [file for file in _files(night, "ingest") if "message" in _columns(file)]
    return _pools_of(files, "prompt_id", "message")


def _pools_of(files: Sequence[Path], prompt: str = "prompt", text: str = "response") -> list[str]:
    return [
        f"SELECT count(DISTINCT {prompt}), sum(length({text})), sum(score), sum(len(vector)) FROM "
        f"{_table(files, prompt)}"
    ]


def _gather(night: Night) -> list[str]:
    calls = _stage(night, "expand") / "calls"
    return _pools(sorted(calls.rglob("*.parquet")))


def _select(night: Night) -> list[str]:
    return _pools(_pool_files(night))


def _pools(files: Sequence[Path]) -> list[str]:
    return [
        "SELECT sum(n), sum(chars) FROM (SELECT prompt_id, count(DISTINCT response_id) AS n, "
        "sum(length(message)) AS chars, sum(n_tokens), sum(len(flags)) FROM "
        f"{_table(files, 'message', 'n_tokens')} GROUP BY prompt_id)",
        "SELECT count(DISTINCT response_id), sum(len(vector)) FROM "
        f"{_table(files, 'vector', without='message')}",
    ]


def _plan(night: Night) -> list[str]:
    chosen = _table(_files(night, "select"), "pair_id", "first_id")
    texts = _texts(night)
    return [
        "SELECT count(*), sum(length(a.message) + length(b.message)) FROM "
        f"{chosen} JOIN {texts} AS a ON a.response_id = first_id "
        f"JOIN {texts} AS b ON b.response_id = second_id"
    ]


def _submit(night: Night) -> list[str]:
    files = _list(night.world.drop.glob(f"{_container(night)}*/input*.manifest"))
    return [
        "SELECT count(DISTINCT task_id), sum(length(response_a) + length(response_b)) FROM "
        f"read_json({files}, format = 'newline_delimited', "
        "columns = {task_id: 'VARCHAR', response_a: 'VARCHAR', response_b: 'VARCHAR'})"
    ]


def _answers(night: Night) -> list[str]:
    files = _list(night.world.drop.glob(f"{_container(night)}*/output/*.jsonl"))
    return [
        "SELECT count(*), sum(n), sum(seconds) FROM (SELECT task_id, choice, annotator, "
        f"count(*) AS n, sum(active_seconds) AS seconds FROM read_json({files}, "
        "format = 'newline_delimited') GROUP BY ALL)"
    ]


def _check(night: Night) -> list[str]:
    files = _files(night, "label")
    annotations, tasks = _table(files, "annotation_id"), _table(files, "shown_a", "task_id")
    chosen = _table(_files(night, "select"), "pair_id", "first_id")
    return [
        "SELECT choice, t.kind, count(*), sum(active_seconds), count(DISTINCT annotator) FROM "
        f"{annotations} AS a JOIN {tasks} AS t USING (task_id) JOIN {chosen} AS c "
        "ON c.pair_id = t.pair_id GROUP BY ALL",
        f"SELECT count(*) FROM {_table(files, 'p_preferred')}",
    ]


def _version(night: Night) -> list[str]:
    preferences, texts = _table(_files(night, "label"), "p_preferred"), _texts(night)
    prompts = _table(_files(night, "ingest"), "messages", "prompt_id")
    return [
        "SELECT preferred, count(*), sum(length(a.message) + length(b.message)), "
        f"sum(len(messages)) FROM {preferences} AS p JOIN {prompts} AS q USING (prompt_id) "
        f"JOIN {texts} AS a ON a.response_id = p.first_id "
        f"JOIN {texts} AS b ON b.response_id = p.second_id GROUP BY preferred"
    ]


def _refit(night: Night) -> list[str]:
    nights = sorted(_stage(night, "label").parents[1].iterdir())
    labelled = [file for each in nights for file in sorted(each.glob("label/**/*.parquet"))]
    compared = [file for each in nights for file in sorted(each.glob("select/**/*.parquet"))]
    return [
        f"SELECT sum(len(vector)) FROM {_table(compared, 'vector')}",
        "SELECT pair_id, count(*) FROM "
        f"{_table(labelled, 'annotation_id')} GROUP BY pair_id HAVING count(*) > 1000",
    ]


_QUERIES: Mapping[str, Callable[[Night], list[str]]] = {
    "ingest": _ingest,
    "read": _read,
    "gather": _gather,
    "select": _select,
    "plan": _plan,
    "submit": _submit,
    "follow_up": _answers,
    "collect": _answers,
    "check": _check,
    "version": _version,
    "refit": _refit,
}


def _container(night: Night) -> str:
    return f"bench-{night.batch.day}"


def _stage(night: Night, stage: str) -> Path:
    return night.world.lake.root / night.batch.folder / stage


def _files(night: Night, stage: str) -> list[Path]:
    return sorted(_stage(night, stage).rglob("*.parquet"))


def _pool_files(night: Night) -> list[Path]:
    calls = _stage(night, "expand") / "calls"
    return [file for file in _files(night, "expand") if calls not in file.parents]


def _texts(night: Night) -> str:
    """The texts of the compared responses; those of all, where a version keeps no others."""
    own = [f for f in _files(night, "select") if "message" in _columns(f)]
    return _table(own or _pool_files(night), "response_id", "message")


def _table(files: Sequence[Path], *columns: str, without: str = "") -> str:
    """Those of some files that have these columns, as a table of DuckDB's."""
    having = [f for f in files if {*columns} <= _columns(f) and without not in _columns(f)]
    return f"read_parquet({_list(having)}, hive_partitioning = false)"


def _columns(file: Path) -> set[str]:
    return set(pq.read_schema(file).names)


def _list(files: object) -> str:
    paths = sorted(map(str, files))  # type: ignore[call-overload]
    return "[" + ", ".join(f"'{path}'" for path in paths) + "]"
