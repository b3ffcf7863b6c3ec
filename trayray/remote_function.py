"""Ray's ``ray.remote_function``."""

from trayray.api.remote_function import RemoteFunction as RemoteFunction

__all__ = ("RemoteFunction",)
