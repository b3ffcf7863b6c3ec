"""Ray's ``ray.util``, built on the public API only."""

from trayray.api.blocking import list_named_actors as list_named_actors

__all__ = ("list_named_actors",)
