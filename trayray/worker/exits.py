"""How a worker is asked to end from within: ``exit_actor``, ``__ray_terminate__``, ``sys.exit``, and its main loop."""


class ActorExit(SystemExit):
    """Raised in the actor's own code; the worker reports it and ends in good order.

    ``patient``: other calls in progress may end by themselves, for a while.
    """

    def __init__(self, *, patient: bool = False) -> None:
        super().__init__()
        self.patient = patient


class ExitRequested(BaseException):
    """The worker's main loop shall end; ``reason`` is a sentence for the user, ``code`` the exit code.

    ``patient``: calls in progress may end by themselves, for a while.
    """

    def __init__(self, reason: str, code: int = 0, *, patient: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.patient = patient


def exit_request(error: SystemExit) -> ExitRequested:
    """User code asked the process to end: what the node is told."""
    if isinstance(error, ActorExit):
        return ExitRequested("exit_actor() was called in it", patient=error.patient)
    code = error.code if isinstance(error.code, int) else int(error.code is not None)
    reason = f"its process exited with exit code {code}: sys.exit({error.code!r}) was called in it"
    request = ExitRequested(reason, code)
    request.__cause__ = error
    return request
