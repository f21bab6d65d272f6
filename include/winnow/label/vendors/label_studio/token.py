"""Label Studio's personal access tokens: one that lasts is traded for short ones.

A personal access token is a JWT that authorises nothing but the trade; the short ones live for five
minutes. Legacy tokens (40 hexadecimal digits) are sent as they are and need none of this.
"""

from __future__ import annotations

import httpx
from pydantic import BaseModel, ValidationError

from winnow.calls import Bounds, read_whole, wire

_REFUSED = 401


def is_refresh_token(token: str) -> bool:
    """True for a personal access token, which has the three parts of a JWT."""
    return token.count(".") == 2


class AccessTokens(httpx.BaseTransport):
    """Signs each request with a short token, which it renews when the server refuses it."""

    def __init__(
        self, base_url: str, refresh_token: str, inner: httpx.BaseTransport | None = None
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/api/token/refresh/"
        self._refresh_token = refresh_token
        self._inner = inner or wire()
        self._short = ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer to `request`, or the server's refusal to trade tokens."""
        if self._short:
            response = self._signed(request)
            if response.status_code != _REFUSED:
                return response
            response.close()
        refusal = self._renew(request)
        return refusal or self._signed(request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _signed(self, request: httpx.Request) -> httpx.Response:
        request.headers["Authorization"] = f"Bearer {self._short}"
        return self._inner.handle_request(request)

    def _renew(self, request: httpx.Request) -> httpx.Response | None:
        trade = httpx.Request(
            "POST",
            self._url,
            json={"refresh": self._refresh_token},
            extensions=request.extensions,
        )
        response = self._inner.handle_request(trade)
        response.request = trade
        response = read_whole(response, "Label Studio (a new token)", Bounds())
        if not response.is_success:
            return response
        try:
            self._short = _Traded.model_validate_json(response.content).access
        except ValidationError as error:
            raise httpx.RemoteProtocolError("the token was not traded", request=request) from error
        return None


class _Traded(BaseModel):
    access: str
