"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest

from winnow.lake import FolderLake, Lake, S3Lake
from winnow.lake.aws import end_calls

# A failed assertion of the shared suites shows its values, as in a test file.
for _suite in ("vendor_answers", "vendor_buying", "vendor_world"):
    pytest.register_assert_rewrite(f"{__package__}.{_suite}" if __package__ else f"tests.{_suite}")


def lacking(what: str) -> NoReturn:
    """Skip a test that this machine lacks something for; where the variable CI is set, fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} (CI is set, so this is no reason to skip)")
    pytest.skip(what)


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """A clock that moves one second a look, from a fixed day on."""
    ticks = iter(range(10**9))
    start = datetime(2026, 11, 22, tzinfo=UTC)
    return lambda: start + timedelta(seconds=next(ticks))


@pytest.fixture(scope="session")
def s3_client() -> Iterator[Any]:
    """A client of an S3 server on loopback (moto), started once."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield end_calls(
        boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
    )
    server.stop()


@pytest.fixture
def s3_lake(s3_client: Any, request: pytest.FixtureRequest) -> S3Lake:
    """An empty lake in a bucket of its own."""
    bucket = f"lake-{abs(hash(request.node.nodeid)):x}"
    s3_client.create_bucket(Bucket=bucket)
    return S3Lake(bucket, "winnow", s3_client)


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A lake of each kind."""
    if request.param == "folder":
        return FolderLake(tmp_path / "lake")
    return request.getfixturevalue("s3_lake")
