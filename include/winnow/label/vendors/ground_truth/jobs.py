"""Calls to SageMaker about labeling jobs, with errors named by what to do about them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from winnow.errors import Fatal, Retryable
from winnow.label.vendor import VendorAccount

LABEL_ATTRIBUTE = "preference"
_BUSY = ("ThrottlingException", "Throttling", "RequestLimitExceeded", "ResourceLimitExceeded")
_ABSENT = ("ResourceNotFound", "ResourceNotFoundException")
_TAKEN = "ResourceInUse"


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the connection's `extra` says of every labeling job."""

    role_arn: str
    workteam_arn: str
    template_uri: str | None = None
    pre_lambda_arn: str | None = None
    post_lambda_arn: str | None = None
    title: str = "Compare two responses"

    @classmethod
    def of(cls, account: VendorAccount) -> JobSettings:
        """The settings in the account's `extra`.

        Raises:
            Fatal: The role or the work team is not named.
        """
        given = {k: v for k, v in account.extra.items() if k in cls.__dataclass_fields__}
        absent = sorted({"role_arn", "workteam_arn"} - given.keys())
        if absent:
            raise Fatal(f"Ground Truth: set extra.{' and extra.'.join(absent)} in the connection.")
        return cls(**given)


def job_request(
    settings: JobSettings, name: str, manifest_uri: str, output_uri: str, template_uri: str
) -> dict[str, Any]:
    """The fields of CreateLabelingJob that do not depend on time; one worker for each task."""
    task: dict[str, Any] = {
        "WorkteamArn": settings.workteam_arn,
        "UiConfig": {"UiTemplateS3Uri": settings.template_uri or template_uri},
        "TaskTitle": settings.title,
        "TaskDescription": "Read a conversation and say which of two responses is better.",
        "NumberOfHumanWorkersPerDataObject": 1,
    }
    if settings.pre_lambda_arn:
        task["PreHumanTaskLambdaArn"] = settings.pre_lambda_arn
    if settings.post_lambda_arn:
        consolidation = {"AnnotationConsolidationLambdaArn": settings.post_lambda_arn}
        task["AnnotationConsolidationConfig"] = consolidation
    return {
        "LabelingJobName": name,
        "LabelAttributeName": LABEL_ATTRIBUTE,
        "InputConfig": {"DataSource": {"S3DataSource": {"ManifestS3Uri": manifest_uri}}},
        "OutputConfig": {"S3OutputPath": output_uri},
        "RoleArn": settings.role_arn,
        "HumanTaskConfig": task,
    }


class Jobs:
    """Labeling jobs by their names, over a `client` of SageMaker."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def describe(self, name: str, manifest_uri: str) -> Mapping[str, Any] | None:
        """The job as SageMaker describes it; None where there is none.

        Raises:
            Fatal: Another batch's job has the name.
        """
        try:
            with _aws_errors(f"job {name}"):
                job: Mapping[str, Any] = self._client.describe_labeling_job(LabelingJobName=name)
        except _AbsentJob:
            return None
        manifest = job["InputConfig"]["DataSource"].get("S3DataSource", {}).get("ManifestS3Uri")
        if manifest != manifest_uri:
            raise Fatal(
                f"Labeling job {name} reads {manifest}, not {manifest_uri}: another lake of this "
                "account and region has a batch of the same key. Rename the campaign."
            )
        return job

    def create(self, request: Mapping[str, Any]) -> None:
        """Create a job; one that is there already is left alone."""
        with contextlib.suppress(_TakenJob), _aws_errors(f"job {request['LabelingJobName']}"):
            self._client.create_labeling_job(**request)

    def stop(self, name: str) -> None:
        """Stop a job; what its workers submitted before is kept."""
        with contextlib.suppress(_AbsentJob), _aws_errors(f"job {name}"):
            self._client.stop_labeling_job(LabelingJobName=name)


class _AbsentJob(Fatal):
    pass


class _TakenJob(Fatal):
    pass


@contextlib.contextmanager
def _aws_errors(what: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _ABSENT:
            raise _AbsentJob(f"SageMaker has no {what}.") from error
        if code == _TAKEN:
            raise _TakenJob(f"SageMaker has {what} already.") from error
        if code in _BUSY or status == 429 or status >= 500:
            raise Retryable(f"SageMaker, {what}: {code}; try again later.") from error
        raise Fatal(f"SageMaker, {what}: {error}.") from error
    except NoCredentialsError as error:
        raise Fatal(f"SageMaker, {what}: no credentials; set login and token.") from error
    except BotoCoreError as error:
        raise Retryable(f"SageMaker, {what}: no answer ({type(error).__name__}).") from error
