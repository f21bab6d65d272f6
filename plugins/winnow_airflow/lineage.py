"""Lineage in OpenLineage's words, where its Airflow provider is installed and switched on.

Each stage reports the tables that it read and wrote as datasets: the namespace is the lake, the
name `CAMPAIGN/STAGE/TABLE` is the same every night, the version is the content's digest. The gate
adds its checks, each with figure and limit, to the annotations that it judged. Nothing of
OpenLineage is imported otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from winnow.addresses import without_secrets
from winnow.stages.tasks import TASKS, Done

if TYPE_CHECKING:
    from winnow.batch import Artifact

Facets = dict[str, Any]


def report(done: Done, task_instance: Any) -> None:
    """Report what the task read and wrote, if OpenLineage is there."""
    if not is_installed():
        return
    from airflow.providers.openlineage.api import emit_dataset_lineage, is_openlineage_active

    if not is_openlineage_active():
        return
    inputs, outputs = list(inputs_of(done)), list(outputs_of(done))
    if inputs or outputs:
        emit_dataset_lineage(inputs=inputs, outputs=outputs, task_instance=task_instance)


def is_installed() -> bool:
    """Whether Airflow's OpenLineage provider is."""
    try:
        return find_spec("airflow.providers.openlineage") is not None
    except ModuleNotFoundError:
        return False


def inputs_of(done: Done) -> Iterator[Any]:
    """Datasets that the task read."""
    from openlineage.client.event_v2 import InputDataset

    checks = _checks(done) if done.task == "check_labels" else {}
    for read in TASKS[done.task].reads:
        place, _, name = read.partition("/")
        if read == "files":
            yield from (InputDataset(*file) for file in _files(done))
        elif read == "dataset":
            published = done.manifest("publish")
            figures = published.figures if published is not None else {}
            facets = _version(f"{figures['version']} {figures['digest']}") if figures else {}
            yield InputDataset(*_dataset(done), facets=facets)
        elif read == "reward_model":
            figures = done.require("select").figures
            # The first nights have none that has learnt anything.
            if figures["posterior_labels"]:
                yield InputDataset(*_model(done), facets=_version(figures["posterior_version"]))
        elif place == "vendor":
            for ref, _ in _asked(done, name):
                yield InputDataset(*_vendor(done, name), facets=_version(ref))
        elif (manifest := done.manifest(place)) is not None and name in manifest.outputs:
            artifact = manifest.outputs[name]
            yield InputDataset(
                *_table(done, place, name),
                facets=_version(artifact.sha256) | (checks if name == "annotations" else {}),
                inputFacets=_rows_read(artifact),
            )


def outputs_of(done: Done) -> Iterator[Any]:
    """Datasets that the task wrote."""
    from openlineage.client.event_v2 import OutputDataset

    written = TASKS[done.task].writes or ""
    place, _, name = written.partition("/")
    if written == "dataset":
        from winnow.publish.versions import read_version

        version = read_version(done.lake, done.campaign.publish.dataset, int(done.result))
        files = [f for name, f in version.files.items() if name.startswith("data/")]
        yield OutputDataset(
            *_dataset(done),
            facets=_version(f"{version.name} {version.digest}"),
            outputFacets=_statistics(version.n_rows("reward"), sum(f.n_bytes for f in files)),
        )
    elif written == "reward_model":
        from winnow.reward import version_as_stored

        stored = done.lake.read(done.require("publish").figures["posterior"])
        yield OutputDataset(*_model(done), facets=_version(version_as_stored(stored)))
    elif place == "vendor":
        for ref, n_tasks in _asked(done, name):
            place, version, counts = _vendor(done, name), _version(ref), _statistics(n_tasks)
            yield OutputDataset(*place, facets=version, outputFacets=counts)
    elif written and (manifest := done.manifest(written)) is not None:
        for name, artifact in manifest.outputs.items():
            yield OutputDataset(
                *_table(done, written, name),
                facets=_version(artifact.sha256),
                outputFacets=_statistics(artifact.n_rows, artifact.n_bytes),
            )


def namespace(uri: str) -> str:
    """The lake as OpenLineage names places: a scheme and a place.

    >>> namespace("s3://bucket/prefix"), namespace("/srv/lake")
    ('s3://bucket/prefix', 'file:///srv/lake')
    """
    return uri if "://" in uri else f"file://{uri}"


def _files(done: Done) -> Iterator[tuple[str, str]]:
    """Namespace and name of each prompt file of the batch."""
    manifest = done.manifest("ingest")
    # A manifest of an earlier version may name a bucket with its key.
    for file in map(without_secrets, manifest.figures.get("files", ()) if manifest else ()):
        if "://" in file:
            scheme, _, rest = file.partition("://")
            bucket, _, key = rest.partition("/")
            yield f"{scheme}://{bucket}", key
        else:
            yield "file", file


def _table(done: Done, stage: str, name: str) -> tuple[str, str]:
    return namespace(done.lake.uri), f"{done.campaign.name}/{stage}/{name}"


def _model(done: Done) -> tuple[str, str]:
    return namespace(done.lake.uri), f"{done.campaign.name}/reward_model"


def _vendor(done: Done, round: str) -> tuple[str, str]:
    """A round's tasks at the vendor: the namespace is the account."""
    label = done.batch.campaign.label
    return f"{label.vendor}://{label.connection}", f"{done.campaign.name}/{round}"


def _asked(done: Done, round: str) -> Iterator[tuple[str, int]]:
    """Where the vendor has a round, and how many tasks it was asked; nothing if none."""
    from winnow.stages.label.plans import read_plan
    from winnow.stages.label.rounds import read_submission

    number = int(round.removeprefix("round-"))
    record, plan = read_submission(done.batch, number), read_plan(done.batch, number)
    if record is not None and plan is not None:
        yield record.ref, plan.totals.tasks


def _dataset(done: Done) -> tuple[str, str]:
    return namespace(done.lake.uri), f"datasets/{done.campaign.publish.dataset}"


def _version(digest: str) -> Facets:
    from openlineage.client.facet_v2 import dataset_version_dataset as facet

    return {"version": facet.DatasetVersionDatasetFacet(datasetVersion=digest)}


def _statistics(n_rows: int, n_bytes: int | None = None) -> Facets:
    from openlineage.client.facet_v2 import output_statistics_output_dataset as facet

    made = facet.OutputStatisticsOutputDatasetFacet
    return {"outputStatistics": made(rowCount=n_rows, size=n_bytes)}


def _rows_read(artifact: Artifact) -> Facets:
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as facet

    made = facet.DataQualityMetricsInputDatasetFacet
    facet_of = made(columnMetrics={}, rowCount=artifact.n_rows, bytes=artifact.n_bytes)
    return {"dataQualityMetrics": facet_of}


def _checks(done: Done) -> Facets:
    """The gate's checks that were measured, each with its figure and its limit."""
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as facet

    from winnow.validate.verdict import Verdict

    verdict = Verdict.from_bytes(done.lake.read(str(done.result)))
    made: Callable[..., Any] = facet.Assertion
    assertions = [
        made(
            assertion=check.name,
            name=check.name,
            success=check.outcome == "pass",
            severity="error" if check.severity == "block" else "warn",
            expected=check.limit or None,
            actual=None if check.value is None else str(check.value),
        )
        for check in verdict.checks
        if check.outcome != "not_measured"
    ]
    return {"dataQualityAssertions": facet.DataQualityAssertionsDatasetFacet(assertions=assertions)}
