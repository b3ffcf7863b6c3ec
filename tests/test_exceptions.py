import copy
import errno
import inspect
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest

from trayray import exceptions
from trayray.exceptions import ActorDiedError, RayError, RayTaskError
from trayray.model.ids import JobID, TaskID

HEX = "ab" * 28


class QuotaError(Exception):
    """Takes arguments that its ``args`` do not hold, and has defaults that its instances override."""

    limit = 0

    def __init__(self, limit: int, *, used: int):
        super().__init__(limit)
        self.limit = limit
        self.used = used

    def __reduce__(self) -> Any:
        return _quota, (self.limit, self.used)

    @property
    def over(self) -> int:
        return self.used - self.limit

    def tell(self) -> str:
        return f"{self.over} too many"


def _quota(limit: int, used: int) -> QuotaError:
    return QuotaError(limit, used=used)


class SlottedError(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


class FrozenError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} is frozen")


class PickyError(Exception):
    def __new__(cls, first: int, second: int):
        return super().__new__(cls, first, second)


class FinalError(Exception):
    def __init_subclass__(cls, **kwargs: object) -> None:
        raise TypeError("no subclasses")


def caught(function: Callable[[], object], **place: Any) -> RayTaskError:
    """What the caller of task ``function`` receives, through bytes as between processes."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001  # tasks raise anything
        sent = RayTaskError.from_exception(error, function_name=function.__name__, **place)
        return pickle.loads(cloudpickle.dumps(sent))
    raise AssertionError("the function did not raise")


def raises(error: BaseException, **place: Any) -> RayTaskError:
    def the_task():
        raise error

    return caught(the_task, **place)


ROUND_TRIPS: list[RayError] = [
    RayError("what", 1),
    exceptions.CrossLanguageError("java.lang.Error"),
    exceptions.TaskCancelledError(TaskID.for_fake_task(JobID.from_int(1)), "by the user"),
    exceptions.TaskCancelledError(error_message="by the user"),
    exceptions.TaskCancelledError(),
    exceptions.TaskCancelledError("t1", step="kill"),
    RayTaskError("f", "Traceback (most recent call last):\nValueError: x\n", ValueError("x")),
    RayTaskError("f", "text", KeyError(1), "trayray::f", 1, "ip", "<A>", "aa").as_instanceof_cause(),
    exceptions.LocalRayletDiedError(),
    exceptions.WorkerCrashedError(),
    exceptions.WorkerCrashedError("The worker died: SIGKILL."),
    exceptions.RayActorError(),
    exceptions.RayActorError(actor_id="aa", error_msg="m", actor_init_failed=True, preempted=True),
    ActorDiedError(),
    ActorDiedError(actor_id="aa", error_msg="The actor Victim(aa) died: killed.", actor_init_failed=True),
    ActorDiedError(RayTaskError("A.__init__", "text", ValueError("x"), actor_id="aa")),
    ActorDiedError(RayTaskError("A.__init__", "text", ValueError("x")).as_instanceof_cause(), actor_id="bb"),
    exceptions.ActorUnavailableError("no connection", b"\x01" * 16),
    exceptions.ActorUnavailableError("no connection", None),
    exceptions.RaySystemError("broken"),
    exceptions.RaySystemError(ValueError, traceback_str="trace"),
    exceptions.AuthenticationError("no token"),
    exceptions.UserCodeException("user"),
    exceptions.ObjectStoreFullError("need 5 bytes"),
    exceptions.OutOfDiskError("need 5 bytes"),
    exceptions.OutOfMemoryError(message="killed"),
    exceptions.NodeDiedError(message="gone"),
    exceptions.ObjectLostError(HEX, b"owner", "file.py:3"),
    exceptions.ObjectLostError(object_ref_hex=HEX, owner_address=None, call_site=""),
    exceptions.ObjectFetchTimedOutError(HEX, None, ""),
    exceptions.ObjectFreedError(HEX, None, ""),
    exceptions.OwnerDiedError(HEX, None, ""),
    exceptions.ReferenceCountingAssertionError(HEX, None, ""),
    exceptions.ObjectReconstructionFailedError(HEX),
    exceptions.ObjectReconstructionFailedError(HEX, 27, call_site="file.py:3"),
    exceptions.ObjectReconstructionFailedError(HEX, reason_message="why"),
    exceptions.ObjectReconstructionFailedError(HEX, reason=99, reason_message="new", owner_address=b"o"),
    exceptions.ObjectReconstructionFailedMaxAttemptsExceededError(HEX),
    exceptions.ObjectReconstructionFailedLineageEvictedError(HEX),
    exceptions.RpcError("unreachable", rpc_code=14),
    exceptions.GetTimeoutError(),
    exceptions.GetTimeoutError("Get timed out: 3 objects"),
    exceptions.PlasmaObjectNotAvailable("p"),
    exceptions.AsyncioActorExit("a"),
    exceptions.PendingCallsLimitExceeded("l"),
    exceptions.ObjectRefStreamEndOfStreamError("e"),
    exceptions.OufOfBandObjectRefSerializationException("o"),
    exceptions.RuntimeEnvSetupError(),
    exceptions.RuntimeEnvSetupError("pip failed"),
    exceptions.TaskPlacementGroupRemoved(),
    exceptions.ActorPlacementGroupRemoved(),
    exceptions.TaskUnschedulableError("no such node"),
    exceptions.ActorUnschedulableError(error_message="no such node"),
    exceptions.StreamingGeneratorReplayInconsistentError("s"),
    exceptions.RayChannelError("s"),
    exceptions.SupervisionError("no", "root", "a", "not found"),
    exceptions.SupervisorGaveUpError("no more", "root", "a", causes=(ValueError("x"), KeyError(1))),
    exceptions.SupervisorStartError("no start", "root", "a", causes=(ValueError("x"),)),
    exceptions.DeadlockError("A.f() waits for itself", ("A.f", "B.g")),
    exceptions.RayChannelTimeoutError("s", "trace"),
    exceptions.RayCgraphCapacityExceeded("s"),
    exceptions.RayDirectTransportError("s"),
    exceptions.UnserializableException("trace"),
    exceptions.ActorAlreadyExistsError("taken"),
    exceptions.ActorHandleNotFoundError(error_message="old"),
]


@pytest.mark.parametrize("error", ROUND_TRIPS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_roundtrips_through_stdlib_pickle(error: RayError, protocol: int):
    loaded = pickle.loads(pickle.dumps(error, protocol))
    assert type(loaded) is type(error)
    assert str(loaded) == str(error)
    assert repr(loaded) == repr(error)
    assert {k: repr(v) for k, v in vars(loaded).items()} == {k: repr(v) for k, v in vars(error).items()}


@pytest.mark.parametrize("error", ROUND_TRIPS, ids=lambda error: type(error).__name__)
def test_every_error_has_a_text_that_fits_in_its_traceback(error: RayError):
    assert str(error).strip()
    assert str(error) in "".join(traceback.format_exception(error))


def test_all_errors_of_the_module_are_listed_documented_and_tried_above():
    defined = {kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, RayError)}
    assert set(exceptions.RAY_EXCEPTION_TYPES) == defined
    assert {kind for error in ROUND_TRIPS for kind in type(error).__mro__} >= defined
    for kind in defined:
        assert kind.__module__ == "trayray.exceptions"
        assert "Raised" in (kind.__doc__ or "") or kind is RayError


def test_bases():
    assert issubclass(exceptions.GetTimeoutError, TimeoutError)
    assert issubclass(exceptions.RayChannelTimeoutError, (exceptions.RayChannelError, TimeoutError))
    assert issubclass(exceptions.ReferenceCountingAssertionError, AssertionError)
    assert exceptions.ActorAlreadyExistsError.__mro__[1] is ValueError
    assert exceptions.ActorHandleNotFoundError.__mro__[1] is ValueError
    for why in ("MaxAttemptsExceeded", "LineageEvicted"):
        kind = getattr(exceptions, f"ObjectReconstructionFailed{why}Error")
        assert issubclass(kind, exceptions.ObjectReconstructionFailedError)


def test_import_is_cheap():
    loaded = "import sys, trayray.exceptions; print({'trio', 'cloudpickle', 'asyncio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (exceptions.WorkerCrashedError(), ["died"]),
        (exceptions.WorkerCrashedError("killed by SIGKILL"), ["killed by SIGKILL"]),
        (exceptions.RaySystemError("x", "tb"), ["System error: x", "traceback: tb"]),
        (exceptions.ActorUnavailableError("boo", b"\x01" * 16), ["01" * 16, "boo", "may or may not have been"]),
        (exceptions.ObjectLostError(HEX, None, "job.py:7"), [HEX, "job.py:7"]),
        (exceptions.ObjectLostError(HEX, None, ""), ["record_ref_creation_sites"]),
        (exceptions.ObjectReconstructionFailedError(HEX, 27), ["[PUT]", "`put()`"]),
        (exceptions.ObjectReconstructionFailedError(HEX, 27, "because"), ["[PUT]", "because"]),
        (
            exceptions.ObjectReconstructionFailedMaxAttemptsExceededError(HEX),
            ["[MAX_ATTEMPTS_EXCEEDED]", "max_retries"],
        ),
        (exceptions.GetTimeoutError(), ["Get timed out: some object(s) not ready."]),
        (exceptions.TaskCancelledError("t1", "by the driver"), ["Task: t1 was cancelled.", "by the driver"]),
        (
            exceptions.TaskCancelledError("t1", step="pending"),
            ["Task: t1 was cancelled.", "'pending'", "had not begun"],
        ),
        (exceptions.ActorDiedError(error_msg="Victim was killed"), ["Victim was killed"]),
    ],
)
def test_texts_tell_the_cause(error: RayError, parts: list[str]):
    for part in parts:
        assert part in str(error)


def test_actor_died_in_its_constructor():
    cause = raises(LookupError("no model"), pid=7, actor_id="aa")
    error = ActorDiedError.from_task_error(cause)
    assert (error.actor_id, error.actor_init_failed, error.preempted) == ("aa", True, False)
    assert "LookupError: no model" in str(error) == error.error_msg
    assert "in the_task" in str(error)
    named = ActorDiedError(cause, actor_id="bb", error_msg="The constructor of Broken failed.")
    assert named.actor_id == "bb"
    assert str(named).startswith("The constructor of Broken failed.")
    assert "LookupError: no model" in str(named)


def test_own_bytes_roundtrip_and_tell_what_cannot_be_rebuilt(monkeypatch: pytest.MonkeyPatch):
    error = raises(QuotaError(1, used=3)).as_instanceof_cause()
    data = error.to_bytes()
    loaded = RayError.from_bytes(data)
    assert isinstance(loaded, QuotaError)
    assert str(loaded) == str(error)
    message = SimpleNamespace(language=0, serialized_exception=data)
    assert isinstance(RayError.from_ray_exception(message), QuotaError)
    java = SimpleNamespace(language=1, formatted_exception_string="java.lang.Error: x")
    assert str(RayError.from_ray_exception(java)) == "java.lang.Error: x"
    monkeypatch.delitem(globals(), "_quota")
    lost = RayError.from_bytes(data)
    assert isinstance(lost, exceptions.UnserializableException)
    assert "QuotaError" in str(lost)
    assert "AttributeError" in str(lost)


# ---------------------------------------------------------------- the dual of a task's error and the user's error


def test_dual_is_both_and_has_everything_of_the_cause():
    error = raises(QuotaError(10, used=11)).as_instanceof_cause()
    assert isinstance(error, RayTaskError)
    assert isinstance(error, QuotaError)
    assert type(error).__mro__[1:4] == (RayTaskError, RayError, QuotaError)
    assert type(error).__name__ == "RayTaskError(QuotaError)"
    assert type(error).__module__ == "trayray.exceptions"
    assert (error.limit, error.used, error.over, error.tell()) == (10, 11, 1, "1 too many")
    assert type(error.cause) is QuotaError
    assert error.args == (error.cause,)
    assert error.function_name == "the_task"
    assert not hasattr(error, "nothing")
    assert error.as_instanceof_cause() is error


@pytest.mark.parametrize("cause", [SystemExit(3), KeyboardInterrupt(), BaseExceptionGroup("g", [SystemExit(1)])])
def test_what_would_end_the_caller_is_not_raised_in_it(cause: BaseException):
    error = raises(cause, pid=1).as_instanceof_cause()

    assert type(error) is exceptions.RayTaskError
    assert isinstance(error, Exception)
    assert type(error.cause) is type(cause)
    assert type(cause).__name__ in str(error)


@pytest.mark.parametrize(
    "cause",
    [
        KeyError("k"),
        StopIteration("value"),
        SlottedError(5),
        FrozenError("f"),
        PickyError(1, 2),
        QuotaError(1, used=2),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        FileNotFoundError(errno.ENOENT, "No such file", "/a"),
        SyntaxError("bad", ("file.py", 1, 2, "text")),
        ImportError("i", name="module"),
        exceptions.GetTimeoutError("g"),
        exceptions.TaskCancelledError(None, "c"),
        exceptions.ActorUnavailableError("u", b"\x01" * 16),
        ExceptionGroup("several", [ValueError("a"), ExceptionGroup("more", [KeyError("b")])]),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_dual_of_any_class_works_and_survives_pickling_and_copying(cause: BaseException):
    received = raises(cause, pid=1).as_instanceof_cause()
    for error in (
        received,
        pickle.loads(pickle.dumps(received)),
        pickle.loads(cloudpickle.dumps(received)),
        copy.copy(received),
        copy.deepcopy(received),
    ):
        with pytest.raises(type(cause)) as info:
            raise error
        assert isinstance(info.value, RayTaskError)
        assert type(info.value) is type(received)
        assert str(info.value) == str(received)
        assert info.value.args == (info.value.cause,)
        for name in ("errno", "filename", "code", "value", "end", "name", "lineno", "actor_id", "message"):
            wanted = getattr(cause, name, "none")
            assert getattr(info.value, name, "none") == wanted


def test_except_star_and_split_take_a_group_apart():
    error = raises(ExceptionGroup("several", [ValueError("a"), KeyError("b")])).as_instanceof_cause()
    seen = []
    try:
        raise error
    except* ValueError as group:
        seen += group.exceptions
    except* KeyError as group:
        seen += group.exceptions
    assert [str(one) for one in seen] == ["a", "'b'"]


@pytest.mark.parametrize("cause", [Exception("plain"), RayError("own")])
def test_cause_that_a_task_error_already_is_needs_no_dual(cause: Exception):
    error = raises(cause)
    assert error.as_instanceof_cause() is error


def test_class_that_cannot_be_subclassed_stays_in_the_cause(caplog: pytest.LogCaptureFixture):
    error = raises(FinalError("last"))
    raised = error.as_instanceof_cause()
    assert type(raised) is RayTaskError
    assert isinstance(raised.cause, FinalError)
    assert "FinalError: last" in str(raised)
    assert "FinalError" in caplog.text
    with pytest.raises(TypeError, match="no subclasses"):
        error.make_dual_exception_instance()


def test_group_that_an_exception_cannot_be_stays_in_the_cause():
    error = raises(BaseExceptionGroup("several", [SystemExit(1)]))
    assert type(error.as_instanceof_cause()) is RayTaskError
    assert isinstance(error.cause, BaseExceptionGroup)
    assert "SystemExit: 1" in str(error)


def test_a_dual_class_is_made_once():
    first, second = (raises(KeyError(n)).as_instanceof_cause() for n in range(2))
    assert first is not second
    assert type(first) is type(second)


def test_error_without_cause():
    error = RayTaskError("f", "text", None)
    assert error.as_instanceof_cause() is error
    with pytest.raises(ValueError, match="f has no cause"):
        error.make_dual_exception_instance()


# ---------------------------------------------------------------- what is sent, and its text


def innermost_part():
    raise RuntimeError("deep trouble")


def outermost_part():
    innermost_part()


def test_text_is_header_frames_and_message():
    error = caught(outermost_part, proctitle="trayray::outermost_part", pid=12, ip="10.0.0.1").as_instanceof_cause()
    header, *frames, last = str(error).splitlines()
    assert header == "trayray::outermost_part() (pid=12, ip=10.0.0.1)"
    assert "in outermost_part" in "".join(frames)
    assert "in innermost_part" in "".join(frames)
    assert last == "RuntimeError: deep trouble"
    assert "\x1b" not in str(error)


def test_header_of_an_actor_and_of_a_place_unknown():
    error = raises(ValueError("x"), pid=1, ip="ip", actor_id="aa", actor_repr="<Counter 1>")
    assert str(error).startswith("the_task() (pid=1, ip=ip, actor_id=aa, repr=<Counter 1>)\n")
    assert (error.actor_repr, error._actor_id) == ("<Counter 1>", "aa")
    assert str(raises(ValueError("x"))).startswith("the_task()\n  File")


def test_args_are_rays():
    error = RayTaskError("f", "text", None, "title", 1, "ip", "repr", "aa")
    assert error.args == ("f", "text", None, "title", 1, "ip")


def test_frames_of_trayray_are_dropped():
    def with_internal_frame():
        RayError.from_bytes(b"no pickle")

    text = str(caught(with_internal_frame))
    assert "in with_internal_frame" in text
    assert "task_error.py" not in text


def test_frames_of_trayray_are_kept_if_there_are_no_others():
    with pytest.raises(pickle.UnpicklingError) as info:
        RayError.from_bytes(b"no pickle")
    only_internal = info.value.with_traceback(info.tb.tb_next)
    assert "task_error.py" in str(RayTaskError.from_exception(only_internal, function_name="f"))


def test_chained_exceptions_are_both_shown():
    def chained():
        try:
            innermost_part()
        except RuntimeError as error:
            raise KeyError("consequence") from error

    text = str(caught(chained))
    assert text.startswith("chained()\n  File")
    assert text.index("deep trouble") < text.index("direct cause") < text.index("consequence")


def test_exception_raised_while_another_was_handled_shows_both_without_internal_frames():
    def failing_handler():
        try:
            RayError.from_bytes(b"no pickle")
        except pickle.UnpicklingError:
            raise KeyError("consequence")  # noqa: B904  # what a careless user writes

    text = str(caught(failing_handler))
    assert text.index("UnpicklingError") < text.index("During handling") < text.index("consequence")
    assert "task_error.py" not in text


def test_group_of_task_errors_shows_each_without_its_class():
    def child():
        raise ValueError("from the child")

    def parent():
        raise ExceptionGroup("children failed", [caught(child, pid=2).as_instanceof_cause()])

    error = caught(parent, pid=1).as_instanceof_cause()
    assert isinstance(error, ExceptionGroup)
    assert isinstance(error.exceptions[0], ValueError)
    assert "child() (pid=2)\n" in str(error)
    assert "RayTaskError(" not in str(error)


def test_groups_and_notes_are_shown_once():
    error = ExceptionGroup("several", [ValueError("first"), KeyError("second")])
    error.add_note("a note")
    received = raises(error).as_instanceof_cause()
    for part in ("several (2 sub-exceptions)", "ValueError: first", "KeyError: 'second'", "a note"):
        assert str(received).count(part) == 1
    shown = "".join(traceback.format_exception(received))
    assert shown.count("a note") == 1


def test_error_of_a_nested_task_shows_both_and_keeps_the_users_cause():
    def child():
        raise ValueError("from the child")

    def parent():
        raise caught(child, pid=2).as_instanceof_cause()

    def grandparent():
        raise caught(parent, pid=1).as_instanceof_cause()

    error = caught(grandparent, pid=0).as_instanceof_cause()
    assert type(error.cause) is ValueError
    assert type(error).__name__ == "RayTaskError(ValueError)"
    text = str(error)
    order = ["grandparent() (pid=0)", "in grandparent", "parent() (pid=1)", "in parent", "child() (pid=2)", "in child"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.count("ValueError") == text.count("from the child") == 2  # source line and message
    assert "RayTaskError" not in text.replace("as_instanceof_cause", "")


def test_nested_error_that_another_is_raised_from_shows_without_its_class():
    def child():
        raise ValueError("from the child")

    def parent():
        try:
            raise caught(child, pid=2).as_instanceof_cause()
        except ValueError as error:
            raise KeyError("from the parent") from error

    error = caught(parent, pid=1).as_instanceof_cause()
    assert type(error.cause) is KeyError
    assert "\nchild() (pid=2)\n" in str(error)
    assert "RayTaskError(" not in str(error)


def test_nested_group_is_shown_once():
    def child():
        raise ExceptionGroup("several", [ValueError("inner message")])

    def parent():
        raise caught(child).as_instanceof_cause()

    error = caught(parent).as_instanceof_cause()
    assert isinstance(error, ExceptionGroup)
    assert str(error).count("ValueError: inner message") == 1


def test_exception_that_cannot_be_written_becomes_its_text():
    class LockedError(Exception):
        def __init__(self):
            super().__init__("holds a lock")
            self.lock = threading.Lock()

    error = raises(LockedError())
    assert type(error.cause) is RayError
    for part in ("LockedError", "holds a lock", "cannot pickle"):
        assert part in str(error.cause)
    assert "LockedError: holds a lock" in str(error)


def test_exception_that_cannot_be_read_back_becomes_its_text():
    class TwoArguments(Exception):  # a user's name
        def __init__(self, first: int, second: int):
            super().__init__(f"{first} and {second}")

    error = raises(TwoArguments(1, 2))
    assert type(error.cause) is RayError
    assert "TwoArguments: 1 and 2" in str(error.cause)
    assert "missing 1 required positional argument" in str(error.cause)


def test_exception_that_comes_back_as_something_else_becomes_its_text():
    class Odd(Exception):  # a user's name
        def __reduce__(self) -> Any:
            return int, (3,)

    error = raises(Odd("odd"))
    assert type(error.cause) is RayError
    assert "Odd: odd" in str(error.cause)
    assert "a int" in str(error.cause)


def test_local_class_travels_by_value():
    class LocalError(Exception):
        pass

    error = raises(LocalError("local")).as_instanceof_cause()
    assert isinstance(error, LocalError)
    assert isinstance(pickle.loads(cloudpickle.dumps(error)), LocalError)
