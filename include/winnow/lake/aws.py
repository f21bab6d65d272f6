"""Clients of AWS services whose calls end: botocore times each read of a socket, and no call.

A store that sends a byte every two seconds would hold a reader for ever. What always holds: a call
ends after `CALL_SECONDS` and what its bytes take at `SLOWEST` a second, retries included; so does a
body that is read whole, and each piece of one that is read piece by piece.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from winnow.addresses import holds_secret
from winnow.errors import Fatal, Retryable
from winnow.within import within

CONNECT_SECONDS, SILENCE_SECONDS, ATTEMPTS = 5.0, 30.0, 4
CALL_SECONDS = 180.0
SLOWEST = 64 << 10
"""Bytes a second of a connection that is slow, not stuck."""
UNTOLD_BYTES = 1 << 30
"""A body whose length the store does not tell is read so far."""
_PIECE_BYTES, _UNTOLD_PIECE = 1 << 20, 8 << 20

_FOR_A_PERSON = (
    "InvalidRegionError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "NoRegionError",
    "ParamValidationError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
)
"""Errors of botocore by which a client never gets to ask; what it reads has to be corrected."""


def aws_client(service: str, **options: Any) -> Any:
    """A client of an AWS service whose calls end, with boto3's options and the machine's settings.

    Raises:
        Fatal: The service's address is none, or holds a password: every error would repeat it; or
            a profile or region is missing, or boto3 is.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise Fatal("A bucket needs boto3: pip install 'winnow[s3]'.") from error
    bounds = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=SILENCE_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    try:
        client = boto3.client(service, config=bounds, **options)
    except BotoCoreError as error:
        raise store_error(service, error) from error
    except ValueError:
        client = None
    if client is None or holds_secret(client.meta.endpoint_url):
        raise Fatal(
            "The address of the object store must be a URL such as http://object-store:8333, "
            "without a password: correct AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the connection's "
            "endpoint_url. Keys belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or into "
            "the connection's login and password."
        )
    return end_calls(client)


def store_error(where: str, error: Exception) -> Retryable | Fatal:
    """A client's own error, before any answer of the store, as what the caller should do."""
    if type(error).__name__ not in _FOR_A_PERSON:
        return Retryable(f"{where}: the store cannot be reached: {error}")
    return Fatal(
        f"{where}: the store cannot be asked: {error}. Give this process credentials and a region: "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role; AWS_REGION."
    )


def end_calls(client: Any, seconds: float = CALL_SECONDS) -> Any:
    """Give every call of `client` an end; one that is over is a botocore time-out."""
    call = client._make_api_call  # What every method, paginator and transfer goes through.

    def bounded(operation: str, asked: Mapping[str, Any]) -> Any:
        if hasattr(_INSIDE, "a_call"):
            # botocore asks something more on its way: that is a part of the call that ends.
            return call(operation, asked)
        allowed = seconds + _length(asked.get("Body")) / SLOWEST
        answer = _ended(client, allowed, partial(_inside, call, operation, asked))
        if "Body" in answer:
            answer["Body"] = Body(client, answer["Body"], answer.get("ContentLength"), seconds)
        return answer

    client._make_api_call = bounded
    return client


_INSIDE = threading.local()


def _inside(call: Callable[..., Any], operation: str, asked: Mapping[str, Any]) -> Any:
    """The call; what this thread asks until its end is a part of it."""
    _INSIDE.a_call = True
    try:
        return call(operation, asked)
    finally:
        del _INSIDE.a_call


class Body:
    """The body of an answer; see `botocore.response.StreamingBody`."""

    def __init__(self, client: Any, inner: Any, n_bytes: int | None, seconds: float) -> None:
        self._client, self._inner = client, inner
        self._n_bytes, self._seconds = n_bytes, seconds

    def read(self, amount: int | None = None) -> bytes:
        """All of it, or the next `amount` bytes."""
        if amount is not None:
            return self._within(amount)
        if self._n_bytes is not None:
            # Once more at its end, where botocore compares what came with what it was told.
            return self._within(self._n_bytes, 1)
        pieces: list[bytes] = []
        for piece in self.iter_chunks(_UNTOLD_PIECE):
            pieces.append(piece)
            if len(pieces) * _UNTOLD_PIECE > UNTOLD_BYTES:
                raise _timed_out(self._client, f"no end after {UNTOLD_BYTES:,} bytes")
        return b"".join(pieces)

    def iter_chunks(self, chunk_size: int = _PIECE_BYTES) -> Iterator[bytes]:
        """Its pieces."""
        while piece := self._within(chunk_size):
            yield piece

    def close(self) -> None:
        """Give the connection back."""
        self._inner.close()

    def _within(self, *amounts: int) -> bytes:
        def read() -> bytes:
            return b"".join([self._inner.read(amount) for amount in amounts])

        return bytes(_ended(self._client, self._seconds + sum(amounts) / SLOWEST, read))


def _ended(client: Any, seconds: float, work: Any) -> Any:
    try:
        return within(seconds, work, "winnow-aws")
    except TimeoutError as error:
        raise _timed_out(client, str(error)) from None


def _timed_out(client: Any, what: str) -> Exception:
    from botocore.exceptions import ReadTimeoutError

    class Ended(ReadTimeoutError):  # type: ignore[misc]
        fmt = "{error} (at {endpoint_url})"

    return Ended(endpoint_url=client.meta.endpoint_url, error=what)


def _length(body: Any) -> int:
    """Bytes that are sent."""
    if isinstance(body, bytes | bytearray):
        return len(body)
    if body is None or not hasattr(body, "seek"):
        return 0
    here = body.tell()
    end = body.seek(0, os.SEEK_END)
    body.seek(here)
    return int(end - here)
