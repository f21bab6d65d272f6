"""What Winnow adds to Airflow: pages, webhooks and links of vendors, a listener, a timetable.

Every Airflow component imports this file, so what stands behind it is imported by the first call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from winnow.console.nav import NAV
from winnow_airflow import failures, traces
from winnow_airflow.timetable import BatchTimetable

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' "
    "stroke='%23808080' stroke-width='2' stroke-linecap='round' stroke-linejoin='round'%3E"
    "%3Cpath d='M3 9h18l-3 8H6z'/%3E%3Cpath d='M9 5v-2M12 6V2M15 5v-2M10 21h4'/%3E%3C/svg%3E"
)
"""A winnowing basket. Grey, which is seen on light and on dark."""


class WinnowDoor:
    """A web app of Winnow's, made when the first request comes; `module` has its `create_app`.

    Where addresses are secret, no log of Airflow's holds one.
    """

    def __init__(self, module: str, is_secret: bool = False) -> None:
        self._module, self._is_secret = module, is_secret
        self._app: Callable[..., Awaitable[None]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            self._app = import_module(self._module).create_app()
        try:
            await self._app(scope, receive, send)
        finally:
            if self._is_secret:
                # The access log reads these when the request is over.
                scope.update(path=f"{scope['root_path']}/...", query_string=b"")


def _view(name: str, page: str, destination: str, **more: str) -> dict[str, str]:
    """A page in Airflow's own; the address is relative, so that a sub-path stays before it."""
    return {
        "name": name,
        "href": f"winnow/{page}",
        "destination": destination,
        "icon": ICON,
        **more,
    }


class WinnowPlugin(AirflowPlugin):
    """Mounted by the API server at /winnow and, for who has a link and no login, /winnow-links.

    The listeners run in the processes of tasks, `traces` in the scheduler too.
    """

    name = "winnow"
    fastapi_apps: ClassVar[list[Any]] = [
        {
            "app": WinnowDoor("winnow_airflow.console_app"),
            "url_prefix": "/winnow",
            "name": "winnow",
        },
        {
            "app": WinnowDoor("winnow_airflow.links_app", is_secret=True),
            "url_prefix": "/winnow-links",
            "name": "winnow-links",
        },
    ]
    external_views: ClassVar[list[Any]] = [
        *(
            _view(title, page, "nav", category="browse", url_route=f"winnow-{page}")
            for page, title in NAV.items()
        ),
        _view("Batch", "run?dag={DAG_ID}&run={RUN_ID}", "dag_run", url_route="winnow-batch"),
    ]
    listeners: ClassVar[list[Any]] = [failures, traces]
    timetables: ClassVar[list[Any]] = [BatchTimetable]
