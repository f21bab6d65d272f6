"""A DAG bundle that makes a file of the DAG folder out of each campaign's YAML.

    [dag_processor]
    dag_bundle_config_list = [{"name": "winnow",
        "classpath": "winnow_airflow.bundle.CampaignBundle", "kwargs": {"refresh_interval": 20}}]

Airflow then reads, pauses and fails each campaign by itself. A campaign whose file is broken keeps
the DAG file that its last good settings made, so that its batches go on, and gets a second one
beside it, `NAME.broken.py`, whose import error says what is wrong. On a host that never saw it good
it gets DAGs without a schedule: a batch has its own settings since it began. Where the YAML is
gone, so are its DAG files.

Every process that runs a task makes its own copy: what did not change is not read again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle

from winnow import __version__
from winnow.campaign.folder import (
    files_in,
    is_name,
    read,
    settings_text,
    state_of,
    teams_fault,
    write_whole,
)
from winnow.errors import Fatal, WinnowError
from winnow.ids import digest
from winnow_airflow.campaigns import place
from winnow_airflow.plain_log import plain_logger

log = plain_logger(__name__)

_STATE = "state.json"
_HEAD = (
    "# An airflow DAG file, made by winnow_airflow/bundle.py from the campaign file {name!a}:\n"
    "# a change of that one changes this one.\n\n"
)
_DAGS = "from winnow_airflow.campaigns import make_dags\n\nmake_dags({settings!r})\n"
_BARE = "from winnow_airflow.campaigns import make_bare_dags\n\nmake_bare_dags({name!r})\n"
_FAULT = "from winnow.errors import Fatal\n\nraise Fatal({reason!r})\n"


class CampaignBundle(BaseDagBundle):
    """The campaigns of WINNOW_CAMPAIGNS as DAG files, one each."""

    supports_versioning = False

    @property
    def path(self) -> Path:
        """The folder of the DAG files."""
        return Path(self.base_dir)

    def get_current_version(self) -> str | None:
        """None: a campaign is what its file says now."""
        return None

    def initialize(self) -> None:
        """Make what is missing or changed."""
        self.refresh()
        super().initialize()

    def refresh(self) -> None:
        """Make the files of campaigns that changed, and take away those of campaigns that are gone.

        A folder that cannot be read, or holds nothing at all, changes nothing: campaigns do not end
        because a disk is away.
        """
        try:
            folder = place()
            files = dict(state_of(folder))
            # Another version may read a campaign otherwise, and make another file of it.
            state = {"winnow": __version__, "place": str(folder), "files": files}
            if self._state() == state:
                return
            if not files_in(folder):
                raise Fatal(f"{folder} holds no campaign.")
            wanted = dict(self._files(folder))
        except (OSError, WinnowError) as error:
            log.warning("The campaigns cannot be read now: %s", error)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        for name, text in wanted.items():
            path = self.path / name
            if text is not None and not (path.exists() and path.read_text() == text):
                write_whole(path, text)
        for path in self.path.glob("*.py"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)
        write_whole(self.path / _STATE, json.dumps(state))

    def view_url(self, version: str | None = None) -> str | None:
        """None: there is no page of the files."""
        return None

    def _files(self, folder: Path) -> Iterator[tuple[str, str | None]]:
        """Each file that there must be, with its text; None where it is left as it is."""
        if (fault := teams_fault(folder)) is not None:
            head = _HEAD.format(name=fault.name)
            yield f"{fault.name}.broken.py", head + _FAULT.format(reason=fault.reason)
        for name in files_in(folder):
            head = _HEAD.format(name=name)
            try:
                campaign = read(folder, name)
            except WinnowError as error:
                # What cannot name a campaign need not be able to name a file either.
                stub = name if is_name(name) else f"file-{digest(name.encode())[:12]}"
                yield f"{stub}.broken.py", head + _FAULT.format(reason=str(error))
                if not is_name(name):
                    continue
                if (self.path / f"{name}.py").exists():
                    yield f"{name}.py", None
                else:
                    yield f"{name}.py", head + _BARE.format(name=name)
            else:
                yield f"{campaign.name}.py", head + _DAGS.format(settings=settings_text(campaign))

    def _state(self) -> Any:
        """What the files were made from."""
        try:
            return json.loads((self.path / _STATE).read_text())
        except (OSError, ValueError):
            return None
