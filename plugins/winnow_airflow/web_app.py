"""Everything below /winnow: vendors' webhooks, and the pages for who may read Winnow's DAGs."""

from __future__ import annotations

from fastapi import FastAPI

from winnow_airflow.console_app import add_console
from winnow_airflow.webhook_app import create_app as create_webhook_app


def create_app() -> FastAPI:
    """The one app of Winnow's plugin; no docs, no schema."""
    app = create_webhook_app()
    add_console(app)
    return app
