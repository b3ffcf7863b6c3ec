"""Closing an async generator of user code's, whatever ends its use.

Not here: running it (``yielding``, ``calls``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

#: How long an async generator may take to clean up after its call was cancelled (seconds).
_CLOSE_SECONDS: Final = 5.0


@asynccontextmanager
async def closing_async(items: AsyncGenerator[Any]) -> AsyncGenerator[None]:
    """Close ``items`` at the end of the block. Its clean-up may await for a while, even in a cancelled call."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + _CLOSE_SECONDS
            await items.aclose()
