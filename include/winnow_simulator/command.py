"""The command line of the labelling-vendor simulator."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path
from typing import get_args

import uvicorn

from winnow_simulator.assign import Staffing
from winnow_simulator.books import Books
from winnow_simulator.faults import FAULTS, Faults, read_rates
from winnow_simulator.service import create_app
from winnow_simulator.staff import StaffKind
from winnow_simulator.tables import OtherBooks
from winnow_simulator.webhooks import Announcer, announce_in_background, poster

TOKEN = "WINNOW_SIMULATOR_TOKEN"
WEBHOOK_SECRET = "WINNOW_SIMULATOR_WEBHOOK_SECRET"


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped. The token comes from the variable WINNOW_SIMULATOR_TOKEN."""
    parser = _parser()
    options = parser.parse_args(arguments)
    token = os.environ.get(TOKEN, "")
    if not token:
        return _refuse(f"{TOKEN} is not set: the simulator needs a token.")
    if options.speed <= 0.0:
        parser.error("--speed must be above 0")
    try:
        faults = Faults(read_rates(options.faults), options.seed)
    except ValueError as error:
        parser.error(f"--faults: {error}")
    staffing = Staffing(options.seed, options.staff, faults)
    options.database.parent.mkdir(parents=True, exist_ok=True)
    try:
        books = Books(options.database, options.seed, options.speed, time.time, staffing)
    except OtherBooks as error:
        return _refuse(f"{options.database} holds {error}; move the file away.")
    if options.webhook_url:
        secret = os.environ.get(WEBHOOK_SECRET, "")
        wanted = f"{WEBHOOK_SECRET} must hold the secret that signs webhooks: whsec_ and base64."
        if not secret.startswith("whsec_") or len(secret) < 30:
            return _refuse(wanted)
        try:
            announcer = Announcer(books, secret, poster(options.webhook_url), time.time)
        except ValueError as error:
            return _refuse(str(error))
        announce_in_background(announcer, threading.Event())
    app = create_app(books, token, hosts=[options.host])
    print(f"Labelling vendor simulator: http://{options.host}:{options.port}", flush=True)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", access_log=False)
    return 0


def _refuse(words: str) -> int:
    print(words, file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    known = "; ".join(f"{name} ({fault.rate:g}): {fault.what}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        description="Labelling vendor simulator: no human answers, except by hand on its pages.",
        epilog=f"Faults, and their rates under --faults all: {known}.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--database", type=Path, required=True, help="SQLite file, made if absent")
    parser.add_argument("--speed", type=float, default=60.0, help="simulated seconds in a second")
    parser.add_argument("--seed", type=int, default=0, help="whom the simulator hires")
    parser.add_argument(
        "--staff",
        choices=get_args(StaffKind),
        default="careful",
        help="mixed: a speeder and two spammers among them; none: only answers by hand",
    )
    parser.add_argument(
        "--faults", default="", metavar="all|NAME=RATE,...", help="what goes wrong, and how often"
    )
    parser.add_argument(
        "--webhook-url", help=f"told when a batch has news; signed with {WEBHOOK_SECRET}"
    )
    return parser
