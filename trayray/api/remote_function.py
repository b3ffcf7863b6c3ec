"""Remote functions: what ``@remote`` makes of a function.

Not here: the decorator's overloads (``decorators``), types of calls (``shapes.calls``), options' rules
(``model.options``).
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from trayray.api.pickling_errors import describe_failure
from trayray.api.scheduling import scheduling_of
from trayray.api.session import session
from trayray.api.submission import (
    CallShape,
    Watch,
    generates,
    number_of_returns,
    pack_arguments,
    retried_exceptions,
    submit_generator,
)
from trayray.model.ids import object_id
from trayray.model.options import MAX_BUFFERED, built_in, task_resources, validate_task_options
from trayray.model.settings import number
from trayray.wire.serialization import Serialized, serialize_definition
from trayray.wire.task_messages import ASYNC_TASK, STREAMING, TASK, Define
from trayray.worker.call_sites import TASK_CALL
from trayray.worker.current import core_worker, join_caller
from trayray.worker.pending_task import PendingTask, TaskTemplate
from trayray.worker.references import AnyRef, ObjectRef

if TYPE_CHECKING:
    from trayray.dag.function_node import FunctionNode

#: Functions above this size are refused, as in Ray (FUNCTION_SIZE_ERROR_THRESHOLD, bytes).
_MAX_DEFINITION_BYTES = 100 * 1024 * 1024


class RemoteFunction:
    """A function that runs as a task: call it with ``.remote(...)``."""

    def __class_getitem__(cls, parameters: Any) -> GenericAlias:
        return GenericAlias(cls, parameters)  # for annotations; `shapes.calls` says what the parameters mean

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        validate_task_options(options, in_options=False)
        self._function = function
        self._function_name = f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"
        self._default_options = built_in(options)
        self._shape = CallShape(getattr(function, "__name__", "function"), function)
        self._generates = generates(function)
        self._number_of_returns(options)
        self._body: bytes | None = None
        #: References inside the body, which are those of the moment when it was pickled.
        self._captured: list[ObjectRef[Any]] = []
        #: Templates by job (with the group that takes children in) and options: calls of the same kind share one.
        self._templates: dict[tuple[bytes, str], TaskTemplate] = {}
        functools.update_wrapper(self, function)

    @property
    def name(self) -> str:
        """The function's bare name."""
        return self._shape.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{self.name}()', "
            f"try '{self.name}.remote()'."
        )

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the function as a task; the reference of its result at once (a list of them for several returns)."""
        return self._submit(args, kwargs, self._default_options, "")

    def bind(self, /, *args: Any, **kwargs: Any) -> FunctionNode[Any]:
        """A node of a lazy graph that runs the function; nodes may be among the arguments. See ``trayray.dag``."""
        return self._bind(self, args, kwargs, self._default_options)

    def _bind(self, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> Any:
        from trayray.dag.function_node import FunctionNode

        return FunctionNode[Any](call, self.name, self._shape, args, kwargs, options)

    def options(self, **options: Any) -> BoundFunction:
        """The same function with other options, for one use."""
        validate_task_options(options, in_options=True)
        self._number_of_returns(options)
        return BoundFunction(self, {**self._default_options, **built_in(options)})

    def _remote(self, args: Any = (), kwargs: Any = None, **options: Any) -> Any:
        return self.options(**options).remote(*(args or ()), **(kwargs or {}))

    def _submit(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        key: str,
        watch: Watch | None = None,
    ) -> Any:
        core = core_worker() or session.core()
        if watch is None:
            self._shape.check(args, kwargs)
        else:
            watch.check(self._shape, args, kwargs)
        template = self._templates.get((core.scope, key)) or self._template(core, options, key)
        packed = pack_arguments(core, self.name, args, kwargs)
        task_id = core.ids.next_normal()
        count = template.define.num_returns
        returns = [AnyRef(object_id(task_id, index)) for index in range(1, count + 1 if count >= 0 else 2)]
        task = PendingTask(task_id, template, packed.payload, packed.args, packed.refs, returns)
        caller = sys._getframe(2)  # beyond `remote`: for the error of a crash
        task.site = caller.f_code, caller.f_lineno
        if core.call_sites is not None:
            core.call_sites.made(TASK_CALL, returns)
        if core.executor is not None:
            join_caller(task)
        if watch is not None:
            watch.made(task)
        if count < 0:
            return submit_generator(core, task)
        core.submit(task)
        if count == 1:
            return returns[0]
        return returns or None

    def _watched(self, watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`remote`, for a call that somebody answers for."""
        return self._submit(args, kwargs, self._default_options, "", watch)

    def _number_of_returns(self, options: dict[str, Any]) -> int:
        return number_of_returns(options.get("num_returns"), self.name, generates=self._generates)

    def _template(self, core: Any, options: dict[str, Any], key: str) -> TaskTemplate:
        resources = task_resources(options)
        scheduling = scheduling_of(core, options, resources, self.name)
        if self._body is None:
            pickled = self._pickled()
            self._body, self._captured = pickled.to_bytes(), pickled.refs
        retries = options.get("max_retries")
        max_calls = options.get("max_calls")
        if max_calls is None and resources.get("GPU"):
            max_calls = 1  # a process that ends gives its accelerator's memory back for sure (as in Ray)
        name = options.get("name") or self.name
        num_returns = self._number_of_returns(options)
        ahead = options.get("_generator_backpressure_num_objects") or 0
        awaits = inspect.iscoroutinefunction(self._function) or inspect.isasyncgenfunction(self._function)
        kind = ASYNC_TASK if awaits else TASK
        define = Define(
            0,
            name,
            self._function_name,
            self._body,
            num_returns,
            kind,
            {k: v for k, v in resources.to_dict().items() if not k.startswith("accelerator_type")},
            job=core.job,
            retry_on=retried_exceptions(options.get("retry_exceptions")),
            max_calls=max_calls or 0,
            ahead=max(0, ahead) if num_returns == STREAMING else 0,
            window=options.get("max_buffered") or MAX_BUFFERED,
            placement_group=b"" if scheduling is None else scheduling.group,
            captures=scheduling is not None and scheduling.captures,
        )
        retries = int(number("TASK_MAX_RETRIES", 3, at_least=-1)) if retries is None else retries
        template = TaskTemplate(define, resources.to_dict(), retries, scheduling, self._captured)
        self._templates[core.scope, key] = template
        return template

    def _pickled(self) -> Serialized:
        try:
            body = serialize_definition(self._function)
        except Exception as error:
            raise describe_failure(self._function, f"the remote function {self.name}", error) from error
        if body.size > _MAX_DEFINITION_BYTES:
            raise ValueError(
                f"The remote function {self.name} is {body.size} bytes when pickled, the limit is "
                f"{_MAX_DEFINITION_BYTES}; it probably captures a large object: put() it and pass the reference "
                "instead."
            )
        return body

    def __reduce__(self) -> tuple[Any, ...]:
        # What was found out about the function travels too: while a function that refers to itself is unpickled, it
        # has no defaults yet.
        return _blank_function, (), {**vars(self), "_body": None, "_captured": [], "_templates": {}}

    def __repr__(self) -> str:
        return f"RemoteFunction({self._function_name})"


class BoundFunction:
    """A remote function with options for one use."""

    def __init__(self, function: RemoteFunction, options: dict[str, Any]) -> None:
        self._function = function
        self._options = options
        self._key = _options_key(options)

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """See `RemoteFunction.remote`."""
        return self._function._submit(args, kwargs, self._options, self._key)

    def _watched(self, watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._function._submit(args, kwargs, self._options, self._key, watch)

    def bind(self, /, *args: Any, **kwargs: Any) -> FunctionNode[Any]:
        """See `RemoteFunction.bind`."""
        return self._function._bind(self, args, kwargs, self._options)


def _options_key(options: dict[str, Any]) -> str:
    """Equal for equal options; what cannot be compared by its text makes a key of its own."""
    told = repr(sorted((name, value) for name, value in options.items() if name != "retry_exceptions")).encode()
    # Exception classes of the same name may differ.
    told += retried_exceptions(options.get("retry_exceptions"))
    return hashlib.blake2b(told, digest_size=12).hexdigest()


def _blank_function() -> RemoteFunction:
    return RemoteFunction.__new__(RemoteFunction)
