"""A lake on an S3 bucket: create and swap are conditional writes (If-None-Match, If-Match).

Every upload carries its SHA-256, which the store checks before it takes the object; large objects
go up in parts, so that neither side holds one whole. Of two writers that meet, the store lets one
through and answers the other 412, or 409 while the first is not done.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO

from winnow.errors import Fatal, Retryable
from winnow.lake.aws import store_error
from winnow.lake.contract import Stored
from winnow.lake.disk import disk_errors

_PART_BYTES = 32 << 20
_MAX_PARTS = 10_000
_MOST_PAGES = 2_000
"""A list of 2 million objects: no folder of a lake has so many, and a store may list for ever."""
_PIECE_BYTES = 1 << 20
_TRIES = 5
_AT_ONCE = 8
_RETRYABLE = (408, 409, 429, 500, 502, 503, 504, 507)
_SKEW = timedelta(minutes=5)
_ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint")
_ENDED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired")
_WRONG_KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken")


class S3Lake:
    """A lake on an S3 bucket; objects above `part_bytes` (at least 5 MiB) go up in parts."""

    links = False

    def __init__(
        self, bucket: str, prefix: str, client: Any, part_bytes: int = _PART_BYTES
    ) -> None:
        self.bucket, self.prefix, self.client = bucket, prefix, client
        self.part_bytes = part_bytes
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self.store = f"{client.meta.endpoint_url}, bucket {bucket}"

    def read(self, path: str) -> bytes:
        data, _ = self.read_tagged(path)
        if data is None:
            raise FileNotFoundError(f"{self.uri}/{path}")
        return data

    def chunks(self, path: str) -> Iterator[bytes]:
        with self._object(path):
            answer = self.client.get_object(**self._at(path))
            yield from answer["Body"].iter_chunks(_PIECE_BYTES)

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        with contextlib.ExitStack() as stack:
            with disk_errors(tempfile.gettempdir()):
                file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="winnow-s3-"))
                for chunk in self.chunks(path):
                    file.write(chunk)
                file.flush()
            yield Path(file.name)

    def part(self, path: str, start: int, n_bytes: int) -> bytes:
        if n_bytes <= 0:
            return b""
        wanted = f"bytes={start}-{start + n_bytes - 1}"
        with self._object(path):
            try:
                answer = self.client.get_object(**self._at(path), Range=wanted)
            except self.client.exceptions.ClientError as error:
                if _status(error) == 416:
                    return b""
                raise
            return bytes(answer["Body"].read())

    def exists(self, path: str) -> bool:
        return self.tag(path) is not None

    def create(self, path: str, data: bytes) -> bool:
        return self._create(path, io.BytesIO(data), len(data))

    def create_file(self, path: str, source: Path) -> bool:
        with source.open("rb") as body:
            return self._create(path, body, source.stat().st_size)

    def copy(self, source: str, target: str) -> None:
        with self._object(source, target):
            try:
                self.client.copy_object(**self._at(target), CopySource=self._at(source))
            except self.client.exceptions.ClientError as error:
                if _code(error) != "InvalidRequest":
                    raise
                # In parts: the object is above S3's limit for one copy.
                self.client.copy(self._at(source), self.bucket, self._key(target))

    def read_tagged(self, path: str) -> tuple[bytes | None, str | None]:
        with contextlib.suppress(FileNotFoundError), self._object(path):
            answer = self.client.get_object(**self._at(path))
            return answer["Body"].read(), answer["ETag"]
        return None, None

    def swap(self, path: str, data: bytes, tag: str | None) -> bool:
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        return self._put(path, io.BytesIO(data), condition) == 200

    def create_folder(self, folder: str, objects: Mapping[str, str]) -> None:
        *names, last = objects
        if self.exists(f"{folder}/{last}"):
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: self.copy(objects[name], f"{folder}/{name}"), names))
        self.copy(objects[last], f"{folder}/{last}")

    def tags(self, folder: str) -> dict[str, str]:
        entries = self._pages("list_objects_v2", folder, "Contents")
        return {self._path(entry): entry["ETag"] for entry in entries}

    def tag(self, path: str) -> str | None:
        """The content tag of one object, as in `tags`; None if there is none."""
        with contextlib.suppress(FileNotFoundError), self._object(path):
            return str(self.client.head_object(**self._at(path))["ETag"])
        return None

    def listing(self, folder: str) -> list[Stored]:
        entries = self._pages("list_objects_v2", folder, "Contents")
        return [Stored(self._path(e), e["Size"], e["LastModified"]) for e in entries]

    def names(self, folder: str, after: str = "") -> Iterator[str]:
        prefix = f"{self._key(folder)}/"
        with _s3_errors(f"{self.uri}/{folder}"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, Delimiter="/", StartAfter=f"{prefix}{after}"
            )
            for page in pages:
                keys = [entry["Key"] for entry in page.get("Contents", [])]
                keys += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
                names = sorted(key[len(prefix) :].rstrip("/") for key in keys)
                yield from (name for name in names if name > after)

    def remove(self, path: str) -> None:
        with _s3_errors(f"{self.uri}/{path}"):
            self.client.delete_object(**self._at(path))

    def remove_folder(self, folder: str, last: str) -> None:
        self.remove(f"{folder}/{last}")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda each: self.remove(each.path), self.listing(folder)))

    def now(self) -> datetime:
        """The time that the store puts on its answers; this machine's where it puts none."""
        with _s3_errors(self.uri):
            try:
                answer = self.client.head_object(**self._at("lake.json"))
            except self.client.exceptions.ClientError as error:
                answer = error.response
        date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
        return parsedate_to_datetime(date).astimezone(UTC) if date else datetime.now(UTC)

    def unfinished(self, folder: str, before: datetime, *, remove: bool) -> list[str]:
        uploads = self._pages("list_multipart_uploads", folder, "Uploads")
        old = [upload for upload in uploads if upload["Initiated"] < before]
        for upload in old if remove else ():
            self._abort({**self._at(self._path(upload)), "UploadId": upload["UploadId"]})
        return sorted(self._path(upload) for upload in old)

    def _create(self, path: str, body: BinaryIO, n_bytes: int) -> bool:
        large = n_bytes > self.part_bytes
        for _ in range(_TRIES):
            if large and self.exists(path):
                return False
            body.seek(0)
            if large:
                answer = self._put_parts(path, body, n_bytes)
            else:
                answer = self._put(path, body, {"IfNoneMatch": "*"})
            if answer != 409:
                return answer == 200
        raise Retryable(f"{self.uri}/{path}: the store found {_TRIES} conflicts in a row.")

    def _put(self, path: str, body: BinaryIO, condition: Mapping[str, str]) -> int:
        def send() -> None:
            try:
                self.client.put_object(
                    **self._at(path), **condition, Body=body, ChecksumAlgorithm="SHA256"
                )
            except self.client.exceptions.ClientError as error:
                # If-Match on an object that is gone: it has no tag to match.
                if not ("IfMatch" in condition and _is_absent(error)):
                    raise
                gone.append(error)

        gone: list[Exception] = []
        answer = self._answer(path, send)
        return 412 if gone else answer

    def _put_parts(self, path: str, body: BinaryIO, n_bytes: int) -> int:
        """Upload in parts; only the last step, which is conditional, makes an object of them."""
        with _s3_errors(f"{self.uri}/{path}"):
            begun = self.client.create_multipart_upload(
                **self._at(path), ChecksumAlgorithm="SHA256"
            )
        upload = {**self._at(path), "UploadId": begun["UploadId"]}
        answer = 0
        try:
            with _s3_errors(f"{self.uri}/{path}"):
                parts = self._parts(upload, body, max(self.part_bytes, -(-n_bytes // _MAX_PARTS)))
            answer = self._answer(
                path,
                lambda: self.client.complete_multipart_upload(
                    **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                ),
            )
        finally:
            if answer != 200:
                self._abort(upload)
        return answer

    def _parts(
        self, upload: Mapping[str, str], body: BinaryIO, part_bytes: int
    ) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        while piece := body.read(part_bytes):
            number = len(parts) + 1
            sent = self.client.upload_part(
                **upload, PartNumber=number, Body=piece, ChecksumAlgorithm="SHA256"
            )
            tags = {name: sent[name] for name in ("ETag", "ChecksumSHA256") if name in sent}
            parts.append({"PartNumber": number, **tags})
        return parts

    def _answer(self, path: str, send: Callable[[], object]) -> int:
        """What the store said to a conditional write: 200, 412, or 409 for a conflict."""
        with _s3_errors(f"{self.uri}/{path}"):
            try:
                send()
            except self.client.exceptions.ClientError as error:
                if _status(error) in (409, 412):
                    return _status(error)
                raise
        return 200

    def _abort(self, upload: Mapping[str, str]) -> None:
        # What cannot be aborted now is found by `unfinished` later.
        with contextlib.suppress(Retryable, Fatal), _s3_errors(self.uri):
            self.client.abort_multipart_upload(**upload)

    def _pages(self, operation: str, folder: str, field: str) -> list[dict[str, Any]]:
        prefix = self._key(folder).strip("/")
        with _s3_errors(f"{self.uri}/{folder}"):
            pages = self.client.get_paginator(operation).paginate(
                Bucket=self.bucket, Prefix=f"{prefix}/" if prefix else ""
            )
            entries: list[dict[str, Any]] = []
            for n, page in enumerate(pages, start=1):
                entries += page.get(field, [])
                if n > _MOST_PAGES:
                    raise Retryable(
                        f"{self.uri}/{folder}: the store's list does not end after {n:,} pages."
                    )
            return entries

    @contextlib.contextmanager
    def _object(self, path: str, target: str = "") -> Iterator[None]:
        """Errors of a call about an object, or its copy; FileNotFoundError where it is absent."""
        with _s3_errors(f"{self.uri}/{target or path}"):
            try:
                yield
            except self.client.exceptions.ClientError as error:
                if _is_absent(error):
                    raise FileNotFoundError(f"{self.uri}/{path}") from error
                raise

    def _at(self, path: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._key(path)}

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _path(self, entry: Mapping[str, Any]) -> str:
        return str(entry["Key"])[len(self._key("")) :]


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _code(error: Any) -> str:
    return str(error.response["Error"]["Code"])


def _is_absent(error: Any) -> bool:
    """Whether an answer says that the object is not there.

    A gateway's 404 has a body of its own, or none; only one that names the bucket is another thing.
    """
    return _status(error) == 404 and _code(error) != "NoSuchBucket"


@contextlib.contextmanager
def _s3_errors(where: str) -> Iterator[None]:
    """Translate the store's errors: a conflict or a 5xx is retryable, the rest needs a person."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        # An upload that `unfinished` took away is begun again.
        again = _status(error) in _RETRYABLE or _code(error) == "NoSuchUpload"
        kind = Retryable if again else Fatal
        raise kind(f"{where}: the store answered {error}.{_what_to_do(error)}") from error
    except BotoCoreError as error:
        raise store_error(where, error) from error
    except RecursionError as error:
        # A 301 on every request: the client asks again where the bucket is, by another request.
        raise Fatal(
            f"{where}: the store sends every request elsewhere (301): correct AWS_ENDPOINT_URL_S3, "
            "which may want https, or AWS_REGION."
        ) from error


def _what_to_do(error: Any) -> str:
    """What a person does about an answer of the store, as a sentence with a space before it."""
    code, status = _code(error), _status(error)
    headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
    if code == "RequestTimeTooSkewed" or (status == 403 and abs(_clock_gap(headers)) > _SKEW):
        minutes = _clock_gap(headers) / timedelta(minutes=1)
        by = f" by {abs(minutes):,.0f} minutes" if minutes else ""
        return f" This machine's clock is off{by}: set it, by NTP for instance."
    if status == 301 or code in _ELSEWHERE:
        region = headers.get("x-amz-bucket-region", "its own")
        return f" The bucket is in another region: set AWS_REGION to {region}."
    if code in _ENDED:
        return " The credentials have ended: renew them."
    if code in _WRONG_KEY:
        return " The credentials are wrong: look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    if status in (401, 403):
        return (
            " The credentials may not do this, or have ended: they need to list the bucket, and to "
            "read, write and delete its objects."
        )
    if status == 404:
        return " There is no such bucket: make it, or correct the lake's address."
    return ""


def _clock_gap(headers: Mapping[str, str]) -> timedelta:
    """How far this machine's clock is ahead of the store's; nothing where it does not say."""
    try:
        return datetime.now(UTC) - parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return timedelta(0)
