"""Where a reader of a vendor's files is, which it reads by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ValidationError

from winnow.errors import Fatal


class FilePlace(BaseModel):
    """Behind the file `after`; `is_final` was true before the first file was read."""

    is_final: bool
    after: str = ""
    has_more: bool = True

    @classmethod
    def read(cls, cursor: str | None, is_final: Callable[[], bool]) -> FilePlace:
        """The place that a cursor names; without one the beginning, asking whether all is there.

        Raises:
            Fatal: It is no cursor of this adapter.
        """
        if cursor is None:
            return cls(is_final=is_final())
        try:
            return cls.model_validate_json(cursor)
        except ValidationError as error:
            raise Fatal("The cursor is not one that this vendor's adapter gave.") from error

    def next_of(self, paths: Sequence[str], most: int = 1) -> tuple[list[str], FilePlace]:
        """The next `most` of the sorted `paths`, none after the last, and the place behind them."""
        left = [path for path in paths if path > self.after]
        page = left[:most]
        behind = {"after": page[-1] if page else self.after, "has_more": len(left) > len(page)}
        return page, self.model_copy(update=behind)

    def as_cursor(self) -> str:
        """The place as a cursor."""
        return json.dumps(self.model_dump(exclude={"has_more"}), sort_keys=True)
