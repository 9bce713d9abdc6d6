"""Lists that a venue gives page by page."""

from collections.abc import Callable
from typing import Any, TypeVar

from hftpipe.venues.orders.rest_error import RestError

#: Whoever has more is not asked on for ever.
MOST_PAGES = 100
Where = TypeVar("Where")


def all_rows(page: Callable[[Where | None], tuple[list[Any], Where | None]], what: str) -> list[Any]:
    """The rows of all pages.

    Args:
        page: gives the rows of the page that begins somewhere (None: the first one), and where the next one does (None: nowhere).
        what: the rows are, for messages.

    Raises:
        RestError: there are more than MOST_PAGES.
    """
    rows: list[Any] = []
    where: Where | None = None
    for _ in range(MOST_PAGES):
        found, where = page(where)
        rows += found
        if where is None:
            return rows
    raise RestError(f"more than {MOST_PAGES} pages of {what}, {len(rows)} so far")
