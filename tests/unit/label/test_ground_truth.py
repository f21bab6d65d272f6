"""Ground Truth's adapter keeps the contract, and what is its own: jobs, limits, responses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import Fatal, Retryable
from winnow.label.submit import submit_tasks
from winnow.label.vendor import Choice, Rating, VendorAccount
from winnow.label.vendors import connect
from winnow.label.vendors.file_drop.folder import AskedLine
from winnow.label.vendors.ground_truth.answers import line_of, read_answers
from winnow.label.vendors.ground_truth.client import GroundTruthVendor, worker_template
from winnow.label.vendors.ground_truth.jobs import JobSettings
from winnow.label.vendors.pages import unread
from winnow.lake import FolderLake, S3Lake

from ...vendor_contract import VendorContract
from ...vendor_world import BUDGET, answered_batch, latest, read_all, submit, terms_of
from .ground_truth_fake import ROLE, TEAM, GroundTruthWorld, sagemaker_client

ASKED = AskedLine("t1", 70_000)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GroundTruthWorld:
    monkeypatch.setattr(GroundTruthVendor, "files_in_a_page", 2)
    return GroundTruthWorld(FolderLake(tmp_path / "drop"))


class TestContract(VendorContract):
    pass


def test_the_same_on_s3(s3_lake: S3Lake, make_tasks) -> None:
    world = GroundTruthWorld(s3_lake)
    tasks = make_tasks(3)
    ref = submit(world, "night/1", tasks).ref
    world.answer(ref, tasks[0].task_id, "ann", "tie")
    assert [a.choice for a in latest(read_all(world.connect(), ref)[0])] == ["tie"]
    [job] = world.jobs.values()
    assert job["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] == (
        f"{s3_lake.uri}/{ref}/input.manifest"
    )
    assert s3_lake.exists(f"{ref}/template.liquid.html")


def test_what_a_job_asks_for(world, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    [job] = world.jobs.values()
    assert job["LabelingJobName"] == ref and len(ref) <= 58
    assert (job["RoleArn"], job["LabelAttributeName"]) == (ROLE, "preference")
    task = job["HumanTaskConfig"]
    assert (task["WorkteamArn"], task["NumberOfHumanWorkersPerDataObject"]) == (TEAM, 1)
    assert task["TaskTimeLimitInSeconds"] == 30 * 60
    assert task["TaskAvailabilityLifetimeInSeconds"] == 7 * 24 * 3600
    assert "PreHumanTaskLambdaArn" not in task and "AnnotationConsolidationConfig" not in task


@pytest.mark.parametrize(
    ("minutes", "days", "limit", "life"),
    [(None, 1, 3600, 86_400), (10_000, 90, 28_800, 864_000), (1, -1, 60, 60)],
)
def test_limits_stay_within_what_aws_takes(world, make_tasks, minutes, days, limit, life) -> None:
    deadline = world.now() + timedelta(days=days)
    terms = replace(terms_of(world), session_minutes=minutes, deadline=deadline)
    submit_tasks(world.connect(), "night/1", terms, make_tasks(1), BUDGET)
    [job] = world.jobs.values()
    task = job["HumanTaskConfig"]
    assert task["TaskTimeLimitInSeconds"] == limit
    assert task["TaskAvailabilityLifetimeInSeconds"] == life


def test_lambdas_and_a_template_of_ones_own_are_named(world, make_tasks) -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:pre"
    settings = JobSettings(ROLE, TEAM, "s3://mine/page.html", arn, arn, "Which one?")
    vendor = GroundTruthVendor(world.store, world.client, settings, world.now)
    submit_tasks(vendor, "night/1", terms_of(world), make_tasks(1), BUDGET)
    [job] = world.jobs.values()
    task = job["HumanTaskConfig"]
    assert task["UiConfig"] == {"UiTemplateS3Uri": "s3://mine/page.html"}
    assert task["PreHumanTaskLambdaArn"] == arn and task["TaskTitle"] == "Which one?"
    assert task["AnnotationConsolidationConfig"] == {"AnnotationConsolidationLambdaArn": arn}


def test_a_batch_that_grew_has_a_second_job_with_the_difference(world, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    submit(world, "night/1", make_tasks(4))
    assert [len(world.asked(job)) for job in world.jobs.values()] == [2, 2]
    assert list(world.jobs) == [ref, f"{ref}-2"]
    for task in make_tasks(4):
        world.answer(ref, task.task_id, "ann", "a")
    assert len(latest(read_all(world.connect(), ref)[0])) == 4


def test_tasks_that_wait_for_a_second_job_count_as_pending(world, make_tasks) -> None:
    ref, _ = answered_batch(world, make_tasks(2))
    world.connect().add_tasks(ref, make_tasks(3))
    status = world.connect().status(ref)
    assert (status.state, status.n_pending, status.committed) == ("open", 1, 300_000)


def test_a_job_of_another_lake_is_not_taken_for_ours(world, make_tasks, tmp_path: Path) -> None:
    submit(world, "night/1", make_tasks(2))
    other = GroundTruthWorld(FolderLake(tmp_path / "other"), jobs=world.jobs)
    with pytest.raises(Fatal, match="another lake"):
        submit(other, "night/1", make_tasks(2))


@pytest.mark.parametrize(
    "changed", [{"role_arn": "arn:aws:iam::999999999999:role/labeling"}, {"region": "eu-west-1"}]
)
def test_a_batch_whose_jobs_are_of_another_account_is_refused(world, changed) -> None:
    ref = world.connect().open_batch("night/1", replace(terms_of(world), mark="a/b"))
    assert world.connect().mark_of(ref) == "a/b"
    settings = JobSettings(changed.get("role_arn", ROLE), TEAM)
    client = sagemaker_client(changed.get("region", "us-east-1"))
    other = GroundTruthVendor(world.store, client, settings, world.now)
    assert other.open_batch("night/1", terms_of(world)) == ref
    with pytest.raises(Fatal, match="are of account 123456789012 in us-east-1"):
        other.mark_of(ref)


def test_a_job_that_failed_says_why(world, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    world.jobs[ref] |= {"LabelingJobStatus": "Failed", "FailureReason": "no access to the bucket"}
    with pytest.raises(Fatal, match="no access to the bucket"):
        world.connect().status(ref)
    world.answer(ref, make_tasks(2)[0].task_id, "ann", "a")
    assert world.connect().status(ref).state == "expired"


def test_a_job_that_somebody_stopped_is_cancelled(world, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    world.jobs[ref]["LabelingJobStatus"] = "Stopped"
    assert world.connect().status(ref).state == "cancelled"


def test_a_job_that_is_stopping_delays_the_cancel(world, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(2)).ref
    world.stops_at_once = False
    with pytest.raises(Retryable, match="are stopping"):
        world.connect().cancel(ref, "enough")
    assert world.connect().status(ref).state == "open"
    world.answer(ref, make_tasks(2)[0].task_id, "ann", "a")
    world.jobs[ref]["LabelingJobStatus"] = "Stopped"
    status = world.connect().cancel(ref, "enough")
    assert (status.state, status.n_answered, status.n_expired) == ("cancelled", 1, 1)


def test_responses_that_come_while_pages_are_read_are_left_to_the_next_look(
    world, make_tasks
) -> None:
    tasks = make_tasks(4)
    ref = submit(world, "night/1", tasks).ref
    for task in tasks[1:]:
        world.answer(ref, task.task_id, "ann", "a")
    first = world.connect().fetch(ref, None)
    assert first.next_cursor is not None
    world.answer(ref, tasks[0].task_id, "ann", "a")
    assert not read_all(world.connect(), ref, first.next_cursor)[1].complete
    records, last = read_all(world.connect(), ref)
    assert last.complete and len(latest(records)) == 4


def test_ratings_and_reasons_come_home(world, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    content = {
        "choice": "b",
        "rating/a/helpfulness": {"1": False, "4": True},
        "rating/b/helpfulness": "5",
        "rating/a/tone": "5",
        "rationale": "B <i>explains</i>",
    }
    world.respond(ref, ref, 0, "private.us-east-1.0f", content)
    [got] = latest(read_all(world.connect(), ref)[0])
    assert (got.choice, got.annotator, got.active_seconds) == ("b", "private.us-east-1.0f", 71.9)
    assert got.ratings == {"helpfulness": Rating(a=4, b=5)}
    assert got.rationale == "B <i>explains</i>"


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'{"answers": [{}]}',
        b'{"answers": 3}',
        b'{"answers": []}',
        b'{"answers": {}}',
        b'{"answers": ""}',
        b'{"answers": null}',
        b"{}",
        b"",
        json.dumps({"answers": [{"workerId": "w", "answerContent": {"choice": {}}}]}).encode(),
        json.dumps({"answers": [{"workerId": "w", "answerContent": None}]}).encode(),
        json.dumps(
            {
                "answers": [
                    {
                        "workerId": "w",
                        "answerContent": {"choice": "a", "rating/a/x": "9", "rating/b/x": "1"},
                    }
                ]
            }
        ).encode(),
    ],
)
def test_a_response_that_cannot_be_read_comes_in_its_bytes_beside_its_task(raw: bytes) -> None:
    assert read_answers(raw, ASKED) == [unread("t1", raw)]


def test_one_bad_answer_in_a_file_costs_no_good_one() -> None:
    good = {"workerId": "w", "answerContent": {"choice": "a"}}
    raw = json.dumps({"answers": [good, {"workerId": "v"}, {**good, "workerId": "u"}]}).encode()
    first, bad, last = read_answers(raw, ASKED)
    assert [json.loads(record)["annotator"] for record in (first, last)] == ["w", "u"]
    assert bad == unread("t1", b'{"workerId": "v"}')


STRAY = ["iteration-1/999/a.json", "iteration-1/x/a.json", f"iteration-1/{'9' * 90}/a.json", "b.gz"]


@pytest.mark.parametrize("job", ["same", "no-such-job"])
@pytest.mark.parametrize("name", STRAY)
def test_a_response_to_what_was_not_asked_is_told_and_comes_home(
    world, make_tasks, job: str, name: str
) -> None:
    ref, _ = answered_batch(world, make_tasks(1))
    answer = {"workerId": "w", "answerContent": {"choice": "a"}}
    path = f"{ref}/output/{ref if job == 'same' else job}/annotations/worker-response/{name}"
    assert world.store.create(path, json.dumps({"answers": [answer]}).encode())
    status = world.connect().status(ref)
    assert (status.n_answered, status.charged, status.n_unreadable) == (1, 100_000, 1)
    assert status.unreadable.startswith(path)
    [_, stray] = sorted(latest(read_all(world.connect(), ref)[0]), key=lambda a: -a.price)
    assert (stray.task_id, stray.price) == (path.removeprefix(f"{ref}/output/"), 0)


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_no_response_breaks_the_reader(raw: str) -> None:
    assert read_answers(raw.encode(), ASKED) == [unread("t1", raw.encode())]


def test_only_responses_are_read() -> None:
    root = "ref/output/job/annotations"
    assert line_of(f"{root}/worker-response/iteration-1/12/2026-11-22_10:00:00.json") == 12
    assert line_of(f"{root}/consolidated-annotation/output/0/x.json") is None
    assert line_of("ref/output/job/manifests/output/output.manifest") is None


def test_the_page_escapes_everything_and_offers_every_choice() -> None:
    page = worker_template()
    shown = re.findall(r"{{(.*?)}}", page)
    trusted = {"side", "grade", "side | upcase"}
    assert all(s.strip().endswith("| escape") for s in shown if s.strip() not in trusted)
    assert re.findall(r'name="choice" value="(\w+)"', page) == list(get_args(Choice))
    assert page.count("{% for") == page.count("{% endfor")
    assert "Judge by: {{ task.input.dimension | escape }}" in page


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("ThrottlingException", 400, Retryable),
        ("InternalFailure", 500, Retryable),
        ("AccessDeniedException", 400, Fatal),
        ("ValidationException", 400, Fatal),
    ],
)
def test_refusals_are_named_by_what_to_do(world, make_tasks, code, status, error) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    plain = sagemaker_client()
    with Stubber(plain) as stub:
        stub.add_client_error("describe_labeling_job", code, http_status_code=status)
        vendor = GroundTruthVendor(world.store, plain, JobSettings(ROLE, TEAM), world.now)
        with pytest.raises(error, match=code):
            vendor.status(ref)


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("/a/folder", {"role_arn": ROLE, "workteam_arn": TEAM}),
        ("s3://b/p", {"role_arn": ROLE}),
        ("s3://b/p", {}),
    ],
)
def test_a_connection_that_cannot_work_is_fatal_at_once(url: str, extra: dict) -> None:
    with pytest.raises(Fatal):
        connect("ground_truth", VendorAccount(url, "", extra={"region": "us-east-1", **extra}))


def test_a_connection_that_can_work_opens() -> None:
    extra = {"region": "us-east-1", "role_arn": ROLE, "workteam_arn": TEAM}
    assert connect("ground_truth", VendorAccount("s3://b/p", "s", "k", extra)).snapshot


@pytest.mark.parametrize("answers", [b"[]", b"{}", b'""'])
def test_a_response_without_an_answer_is_a_record_all_the_same(answers: bytes) -> None:
    raw = b'{"answers": %s}' % answers
    assert read_answers(raw, ASKED) == [unread("t1", raw)]
