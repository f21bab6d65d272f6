"""What Winnow adds to Airflow: the route on which labelling vendors' webhooks arrive.

Every Airflow component imports this file, so what stands behind it is imported by the first call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin


class WebhookDoor:
    """The webhooks' web app, made when the first request comes."""

    def __init__(self) -> None:
        self._app: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            from winnow_airflow.webhook_app import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


class WinnowPlugin(AirflowPlugin):
    """Mounted by the API server at /winnow."""

    name = "winnow"
    fastapi_apps: ClassVar[list[Any]] = [
        {"app": WebhookDoor(), "url_prefix": "/winnow", "name": "winnow webhooks"}
    ]
