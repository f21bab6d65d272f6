"""Where the campaigns lie: a folder, a file, or a prefix of a bucket that is brought here."""

from __future__ import annotations

import os
import time
from pathlib import Path

from winnow.campaign.folder import SUFFIXES, write_whole
from winnow.errors import Fatal, WinnowError

SHIPPED = Path(__file__).parents[1] / "campaigns"

SECONDS = 20.0
"""How old what was brought may be: a changed file is seen within a minute of any process."""

_NOTE = ".brought"


def place_setting() -> str:
    """Where the environment says that campaigns lie; WINNOW_CAMPAIGN, a file, is the older name."""
    variable = os.environ.get
    return variable("WINNOW_CAMPAIGNS") or variable("WINNOW_CAMPAIGN") or str(SHIPPED)


def campaigns_place(said: str, brought: Path) -> Path:
    """A folder or file as it is; of `s3://bucket/prefix` the copy in `brought`, renewed.

    Only YAML right below the prefix is brought: what campaigns name beside it (prompts, gold) is
    named by address. A bucket that is away leaves what was brought before.

    Raises:
        Fatal: The bucket cannot be read, and nothing of it was ever brought.
    """
    if not said.startswith("s3://"):
        return Path(said)
    note = brought / _NOTE
    if note.exists() and 0.0 <= time.time() - note.stat().st_mtime < SECONDS:
        return brought
    try:
        _bring(said, brought)
    except (OSError, WinnowError) as error:
        if not note.exists():
            raise Fatal(f"The campaigns in {said} cannot be read: {error}") from error
        # Each look at a bucket that does not answer takes long: the next one is as late as ever.
        note.touch()
    return brought


def _bring(said: str, brought: Path) -> None:
    # Here, because the store's client weighs more than all else in this module.
    from winnow.lake import open_lake

    parent, _, folder = said.rstrip("/").rpartition("/")
    if parent == "s3:/":
        raise Fatal("name a folder of the bucket, such as s3://bucket/campaigns.")
    bucket = open_lake(parent)
    brought.mkdir(parents=True, exist_ok=True)
    names = [name for name in bucket.names(folder) if name.endswith(SUFFIXES)]
    for name in names:
        content = bucket.read(f"{folder}/{name}")
        path = brought / name
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)
    for path in brought.iterdir():
        if path.suffix in SUFFIXES and path.name not in names:
            path.unlink(missing_ok=True)
    (brought / _NOTE).touch()
