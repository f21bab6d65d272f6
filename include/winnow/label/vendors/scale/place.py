"""Where a reader of Scale's tasks is, between pages and between looks."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from pydantic import BaseModel, ValidationError

from winnow.errors import Fatal


class Place(BaseModel):
    """Where a reader is: changes `after`, on from `token`, in a look that began `at`.

    `seen` is a while before the last change that the look has seen.
    """

    after: datetime | None = None
    at: datetime | None = None
    seen: datetime | None = None
    token: str | None = None
    is_final: bool = False

    @classmethod
    def read(cls, cursor: str | None) -> Place:
        """The place that a cursor names; None: the beginning.

        Raises:
            Fatal: It is no cursor of this adapter.
        """
        try:
            return cls() if cursor is None else cls.model_validate_json(cursor)
        except ValidationError as error:
            raise Fatal("The cursor is not one that Scale's adapter gave.") from error

    @property
    def is_under_way(self) -> bool:
        """Whether a look has begun."""
        return self.token is not None

    def begun(self, at: datetime, is_final: bool) -> Place:
        """A look that begins now."""
        return self.model_copy(update={"at": at, "seen": None, "is_final": is_final})

    def saw(self, changed: datetime | None, before: timedelta) -> Place:
        """The same place, after a page whose last change was at `changed`."""
        seen = [each for each in (self.seen, changed and changed - before) if each is not None]
        return self.model_copy(update={"seen": max(seen, default=None)})

    def on_from(self, token: str) -> Place:
        """The next page of this look."""
        return self.model_copy(update={"token": token})

    def next_look(self) -> Place:
        """Where a later look begins: not after what this one saw, however wrong a clock is."""
        if self.seen is None:
            return Place(after=self.after)
        return Place(after=min(self.seen, self.at or self.seen))

    def params(self) -> dict[str, str]:
        """What asks Scale for the page at this place."""
        after = {"updated_after": self.after.isoformat()} if self.after else {}
        return {**after, **({"next_token": self.token} if self.token else {})}

    def as_cursor(self) -> str:
        """The place as a cursor."""
        return json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
