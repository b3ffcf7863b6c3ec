"""Leaving an actor from within: the exception behind ``exit_actor`` and ``__ray_terminate__``."""


class ActorExit(SystemExit):
    """Raised in the actor's own code; the worker reports it and ends in good order.

    ``patient``: other calls in progress may end by themselves, for a while.
    """

    def __init__(self, *, patient: bool = False) -> None:
        super().__init__()
        self.patient = patient
