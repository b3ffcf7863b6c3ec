"""Leaving an actor from within: the exception behind ``exit_actor``."""


class ActorExit(SystemExit):
    """Raised by ``exit_actor`` in the actor's own code; the worker reports it and ends in good order."""
