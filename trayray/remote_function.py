"""Ray's ``ray.remote_function``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trayray.api.shapes.calls import RemoteFunction as RemoteFunction
else:
    from trayray.api.remote_function import RemoteFunction

__all__ = ("RemoteFunction",)
