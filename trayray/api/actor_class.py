"""Actor classes and handles: what ``@remote`` makes of a class, and how its actors are called.

Not here: the decorator's overloads (``decorators``), types of calls (``shapes.actors``), options' rules
(``model.options``), actors' lives (``gcs``).
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

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
from trayray.exceptions import ActorHandleNotFoundError
from trayray.model.ids import creation_task_id, object_id
from trayray.model.options import (
    MAX_BUFFERED,
    actor_resources,
    built_in,
    check_actor_creation,
    validate_actor_options,
    validate_call_options,
)
from trayray.wire.serialization import Serialized, noted, serialize, serialize_definition
from trayray.wire.specs import ActorSpec
from trayray.wire.task_messages import METHOD, STREAMING, Define
from trayray.worker.actor_calls import ActorCall
from trayray.worker.actor_creation import ActorGuard, Creation
from trayray.worker.call_sites import ACTOR_CALL
from trayray.worker.current import actor_self, core_worker, join_caller, running
from trayray.worker.out_of_band import check_session
from trayray.worker.pending_task import TaskTemplate
from trayray.worker.references import AnyRef, ObjectRef

if TYPE_CHECKING:
    from trayray.dag.class_node import ClassNode
    from trayray.worker.core_worker import CoreWorker

#: Concurrent calls of an actor with asynchronous methods, when nothing is said.
_ASYNC_CONCURRENCY = 1000


def _nullary(self: Any) -> None:
    """A method without arguments, for its signature."""


def _calling(self: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """A method that calls ``fn``, for its signature."""


#: An option of `native.supervisor`'s own: the actor's supervisor in this process starts it again.
SUPERVISED: Final = "_supervised"
#: Signatures of the methods that every actor has.
_IMPLICIT = {"__ray_ready__": _nullary, "__ray_terminate__": _nullary, "__ray_call__": _calling}


class ActorClassInheritanceException(TypeError):
    """A class was derived from an actor class; derive from the plain class and decorate the derived one."""


@attrs.define
class MethodInfo:
    """One method as its callers know it."""

    name: str
    shape: CallShape
    #: As it travels: see `number_of_returns`.
    num_returns: int
    generates: bool
    group: str
    #: None: as the actor says.
    max_task_retries: int | None
    #: As it travels: see `retried_exceptions`.
    retry_on: bytes = b""
    #: How far its generator may run ahead of the consumer; 0 for no limit.
    ahead: int = 0
    #: How many items may wait at each end of its stream.
    window: int = MAX_BUFFERED


@attrs.define
class ActorInfo:
    """What a handle knows of its actor; pickles into other processes and into the GCS."""

    actor_id: bytes
    class_name: str
    methods: dict[str, MethodInfo]
    #: Calls of one submitter run in submission order.
    ordered: bool
    #: How often a call is sent again when the actor's process died under it; -1 for ever.
    max_task_retries: int
    #: Calls of one caller that may be unfinished at a time; 0 for no limit.
    max_pending_calls: int = 0
    #: A call that there is no room for waits in its thread, instead of raising.
    waits_for_room: bool = False


class ActorMethod:
    """A method of an actor: call it with ``.remote(...)``."""

    __slots__ = ("_handle", "_info", "_options")

    def __class_getitem__(cls, parameters: Any) -> GenericAlias:
        return GenericAlias(cls, parameters)  # for annotations; `shapes.actors` says what the parameters mean

    def __init__(self, handle: ActorHandle, info: MethodInfo, options: dict[str, Any] | None = None) -> None:
        self._handle = handle
        self._info = info
        self._options = options or {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{self._info.name}()', "
            f"try 'object.{self._info.name}.remote()'."
        )

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options, for one use."""
        validate_call_options(options)
        number_of_returns(options.get("num_returns"), self._info.name, generates=self._info.generates)
        return ActorMethod(self._handle, self._info, {**self._options, **built_in(options)})

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the method; the reference of its result at once (a list of them for several returns)."""
        return self._handle._submit(self._info, args, kwargs, self._options)

    def _watched(self, watch: Watch, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`remote`, for a call that somebody answers for."""
        return self._handle._submit(self._info, args, kwargs, self._options, watch)

    def bind(self, /, *args: Any, **kwargs: Any) -> Any:
        """A node of a lazy graph that calls the method; a tuple of nodes for several returns. See ``trayray.dag``."""
        from trayray.dag.class_node import bind_live

        num_returns = self._options.get("num_returns")
        return bind_live(
            self._handle,
            self._handle._ray_info.class_name,
            self._info.name,
            self._info.shape,
            args,
            kwargs,
            self._options,
            self._info.num_returns if num_returns is None else num_returns,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorMethod, (self._handle, self._info, self._options)

    def __repr__(self) -> str:
        return f"ActorMethod({self._handle!r}.{self._info.name})"


class ActorHandle:
    """A handle to an actor; its attributes are the actor's methods. It may be passed anywhere."""

    def __class_getitem__(cls, parameters: Any) -> GenericAlias:
        return GenericAlias(cls, parameters)  # for annotations; `shapes.actors` says what the parameters mean

    def __init__(self, info: ActorInfo, ref: ObjectRef[Any] | None) -> None:
        self._ray_info = info
        #: Keeps the actor alive; None in handles that were got by name.
        self._ray_ref = ref

    @property
    def _ray_actor_id(self) -> Any:
        from trayray.model.ids import ActorID

        return ActorID(self._ray_info.actor_id)

    @property
    def _actor_id(self) -> Any:
        return self._ray_actor_id

    def __getattr__(self, name: str) -> ActorMethod:
        info = self.__dict__.get("_ray_info")
        method = None if info is None else info.methods.get(name)
        if method is None:
            described = "actor handle" if info is None else f"actor of class {info.class_name}"
            raise AttributeError(f"the {described} has no method {name!r}; only methods are reached through a handle")
        return ActorMethod(self, method)

    def __dir__(self) -> list[str]:
        return list(self._ray_info.methods)

    def __repr__(self) -> str:
        return f"Actor({self._ray_info.class_name}, {self._ray_info.actor_id.hex()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and other._ray_info.actor_id == self._ray_info.actor_id

    def __hash__(self) -> int:
        return hash(self._ray_info.actor_id)

    def __reduce__(self) -> tuple[Any, ...]:
        core = core_worker()
        if noted.refs is None and core is not None:
            return revive_handle, (self._ray_info, self._ray_ref, core.welcome.session)
        return ActorHandle, (self._ray_info, self._ray_ref)

    def _check_cluster(self, core: CoreWorker) -> None:
        guard = None if self._ray_ref is None else self._ray_ref._guard
        if isinstance(guard, ActorGuard) and guard.core is not core:
            raise ActorHandleNotFoundError(
                f"{self!r} is not known to this cluster: it was created before the present init(), in another cluster."
            )

    def _submit(
        self,
        method: MethodInfo,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        watch: Watch | None = None,
    ) -> Any:
        core = core_worker() or session.core()
        if watch is None:
            method.shape.check(args, kwargs)
        else:
            watch.check(method.shape, args, kwargs)
        info = self._ray_info
        client = core.actors.client(info.actor_id, ordered=info.ordered)
        template = client.templates.get((method.name,)) if not options else None
        if template is None:
            self._check_cluster(core)
            template = _method_template(client.templates, core.job, info, method, options)
        define = template.define
        num_returns = define.num_returns
        packed = pack_arguments(core, define.name, args, kwargs)
        task_id = core.ids.next_for_actor(info.actor_id)
        count = 1 if num_returns < 0 else num_returns
        returns = [AnyRef(object_id(task_id, index)) for index in range(1, count + 1)]
        call = ActorCall(task_id, template, packed.payload, packed.args, packed.refs, returns, self._ray_ref, client)
        caller = sys._getframe(2)  # beyond `ActorMethod.remote`: for the error of a crash
        call.site = caller.f_code, caller.f_lineno
        if core.call_sites is not None:
            core.call_sites.made(ACTOR_CALL, returns)
        if info.max_pending_calls:
            client.mailbox.reserve(info.max_pending_calls, info.class_name, waits=info.waits_for_room)
        if core.executor is not None:
            join_caller(call)
        if watch is not None:
            watch.made(call)
        if num_returns < 0:
            return submit_generator(core, call)
        core.submit(call)
        if num_returns == 1:
            return returns[0]
        return returns or None


class ActorClass:
    """A class whose instances are actors: create one with ``.remote(...)``."""

    def __class_getitem__(cls, parameters: Any) -> GenericAlias:
        return GenericAlias(cls, parameters)  # for annotations; `shapes.actors` says what the parameters mean

    def __init__(self, cls: type, options: dict[str, Any]) -> None:
        validate_actor_options(options, in_options=False)
        self._cls = cls
        self._default_options = built_in(options)
        self.__name__ = f"ActorClass({cls.__name__})"
        self.__doc__ = cls.__doc__
        self.__module__ = cls.__module__
        self.__qualname__ = cls.__qualname__
        self._methods = _methods_of(cls)
        self._is_async = any(
            inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f) for f in _functions(cls).values()
        )
        self._shape = (
            CallShape(cls.__name__, cls.__init__, skip_first=True) if "__init__" in _own_attributes(cls) else None
        )
        self._body: bytes | None = None
        #: References inside the body, which are those of the moment when it was pickled.
        self._captured: list[ObjectRef[Any]] = []
        self._check_groups()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise ActorClassInheritanceException(f"Inheriting from actor classes is not supported: {cls.__name__}.")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        raise ActorClassInheritanceException(
            f"Inheriting from actor classes is not supported. Derive from the plain class {self._cls.__name__} "
            "and decorate the derived class with @ray.remote instead."
        )

    def _check_groups(self) -> None:
        groups: Any = self._default_options.get("concurrency_groups") or ()
        for method in self._methods.values():
            if method.group and method.group not in groups:
                raise ValueError(
                    f"{self._cls.__name__}.{method.name} is in concurrency group {method.group!r}, which the class "
                    f"does not declare; it declares {sorted(groups) or 'none'}"
                )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self._cls.__name__
        raise TypeError(f"Actors cannot be instantiated directly. Instead of '{name}()', use '{name}.remote()'.")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_ray") or name == "_cls":
            raise AttributeError(name)
        return getattr(self._cls, name)

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Create an actor; its handle at once."""
        return self._create(args, kwargs, self._default_options)

    def bind(self, /, *args: Any, **kwargs: Any) -> ClassNode[Any]:
        """A node of a lazy graph that creates an actor at each execution. See ``trayray.dag``."""
        return self._bind(self, args, kwargs, self._default_options)

    def _bind(self, creator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> Any:
        from trayray.dag.class_node import ClassNode

        return ClassNode[Any](creator, self._cls.__name__, self._shape, self._methods, args, kwargs, options)

    def options(self, **options: Any) -> BoundActorClass:
        """The same class with other options, for one use."""
        validate_actor_options(options, in_options=True)
        return BoundActorClass(self, {**self._default_options, **built_in(options)})

    def _remote(self, args: Any = (), kwargs: Any = None, **options: Any) -> Any:
        return self.options(**options).remote(*(args or ()), **(kwargs or {}))

    def _create(self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> ActorHandle:
        check_actor_creation(options, is_async=self._is_async)
        name = self._cls.__name__
        if inspect.isabstract(self._cls):
            missing = ", ".join(sorted(getattr(self._cls, "__abstractmethods__", ())))
            raise TypeError(f"Can't instantiate abstract class {name}: it does not define {missing}")
        core = core_worker() or session.core()
        if self._shape is not None:
            self._shape.check(args, kwargs)
        elif args or kwargs:
            raise TypeError(f"{name}() takes no arguments: the class has no __init__")
        if self._body is None:
            pickled = self._pickled()
            self._body, self._captured = pickled.to_bytes(), pickled.refs
        packed = pack_arguments(core, f"{name}.__init__", args, kwargs)
        creation = self._creation(core, packed, options)
        ref = AnyRef(object_id(creation.spec.task, 1))
        if core.call_sites is not None:
            core.call_sites.made(ACTOR_CALL, (ref,))
        info = self._info(creation.spec.actor, options)
        creation.spec.handle = serialize(info).to_bytes()
        detached = creation.detached
        if creation.spec.name:
            existing = core.run_async(core.creations.register, creation)
            if existing:
                from trayray.wire.serialization import deserialize

                return ActorHandle(deserialize(existing), None)
        else:
            core.call_soon(core.creations.start, creation)
        if not detached:
            ref._guard = ActorGuard(core, creation.spec.actor)
            caller = running.get()
            if caller is not None and caller.children is not None:
                caller.children.add_actor(creation.spec.actor)
        return ActorHandle(info, None if detached else ref)

    def _creation(self, core: Any, packed: Any, options: dict[str, Any]) -> Creation:
        placement, running = actor_resources(options)
        scheduling = scheduling_of(core, options, placement, self._cls.__name__)
        actor_id = os.urandom(12) + core.job
        concurrency = options.get("max_concurrency")
        if concurrency is None:
            concurrency = _ASYNC_CONCURRENCY if self._is_async else 1
        lifetime = options.get("lifetime")
        supervised = bool(options.get(SUPERVISED))
        spec = ActorSpec(
            actor=actor_id,
            task=creation_task_id(actor_id),
            class_name=self._cls.__name__,
            body=self._body or b"",
            payload=packed.payload,
            values=[],
            owner=core.address,
            job=core.job,
            name=options.get("name") or "",
            namespace=options.get("namespace") or core.namespace,
            max_concurrency=concurrency,
            is_async=self._is_async,
            groups=_groups(options),
            resources=running.to_dict(),
            max_restarts=-1 if supervised else options.get("max_restarts") or 0,
            handle=b"",
            placement_group=b"" if scheduling is None else scheduling.group,
            captures=scheduling is not None and scheduling.captures,
        )
        return Creation(
            spec,
            running.to_dict(),
            placement.to_dict(),
            not supervised and (lifetime == "detached" or (lifetime is None and core.detaches_actors)),
            bool(options.get("get_if_exists")),
            packed.args,
            [*(packed.refs or ()), *self._captured],
            scheduling,
            supervised,
        )

    def _info(self, actor_id: bytes, options: dict[str, Any]) -> ActorInfo:
        concurrency = options.get("max_concurrency") or 1
        freed = options.get("concurrency_groups") or options.get("allow_out_of_order_execution")
        ordered = not self._is_async and concurrency == 1 and not freed
        return ActorInfo(
            actor_id,
            self._cls.__name__,
            self._methods,
            ordered,
            options.get("max_task_retries") or 0,
            max(0, options.get("max_pending_calls") or 0),
            options.get("pending_calls_policy") == "wait",
        )

    def _pickled(self) -> Serialized:
        try:
            return serialize_definition(self._cls)
        except Exception as error:
            raise describe_failure(self._cls, f"the actor class {self._cls.__name__}", error) from error

    def __reduce__(self) -> tuple[Any, ...]:
        # What was found out about the class travels too: while a class that refers to itself is unpickled, it is empty.
        return _blank_actor_class, (), {**vars(self), "_body": None, "_captured": []}

    def __repr__(self) -> str:
        return self.__name__


def _blank_actor_class() -> ActorClass:
    return ActorClass.__new__(ActorClass)


class BoundActorClass:
    """An actor class with options for one use."""

    def __init__(self, cls: ActorClass, options: dict[str, Any]) -> None:
        self._cls = cls
        self._options = options

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """See `ActorClass.remote`."""
        return self._cls._create(args, kwargs, self._options)

    def bind(self, /, *args: Any, **kwargs: Any) -> ClassNode[Any]:
        """See `ActorClass.bind`."""
        return self._cls._bind(self, args, kwargs, self._options)


def _own_attributes(cls: type) -> dict[str, Any]:
    """Attributes of the class and its bases but ``object``."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        found.update(vars(base))
    return found


def _functions(cls: type) -> dict[str, Callable[..., Any]]:
    return {
        name: getattr(cls, name)
        for name, value in _own_attributes(cls).items()
        if callable(getattr(cls, name, None)) and not isinstance(value, type)
    }


def _methods_of(cls: type) -> dict[str, MethodInfo]:
    """The callable attributes of ``cls``, and what every actor has."""
    methods: dict[str, MethodInfo] = {}
    for name, function in {**_IMPLICIT, **_functions(cls)}.items():
        static = isinstance(inspect.getattr_static(cls, name, None), staticmethod | classmethod)
        options = getattr(function, "__ray_method_options__", {})
        methods[name] = MethodInfo(
            name,
            CallShape(name, function, skip_first=not static),
            number_of_returns(options.get("num_returns"), name, generates=generates(function)),
            generates(function),
            options.get("concurrency_group") or "",
            options.get("max_task_retries"),
            retried_exceptions(options.get("retry_exceptions")),
            max(0, options.get("_generator_backpressure_num_objects") or 0),
            options.get("max_buffered") or MAX_BUFFERED,
        )
    return methods


def _method_template(
    known: dict[tuple[Any, ...], TaskTemplate], job: bytes, info: ActorInfo, method: MethodInfo, options: dict[str, Any]
) -> TaskTemplate:
    """What calls of a method share: what the call says counts, then what ``@method`` says, then the actor.

    ``known`` are the templates that there are, by method and options.
    """
    num_returns = method.num_returns
    if options.get("num_returns") is not None:
        num_returns = number_of_returns(options["num_returns"], method.name, generates=method.generates)
    retries = options.get("max_task_retries")
    if retries is None:
        retries = info.max_task_retries if method.max_task_retries is None else method.max_task_retries
    retry = options.get("retry_exceptions")
    ahead = options.get("_generator_backpressure_num_objects")
    ahead = method.ahead if ahead is None else max(0, ahead)
    ahead = ahead if num_returns == STREAMING else 0
    name = options.get("name") or f"{info.class_name}.{method.name}"
    group = options.get("concurrency_group") or method.group
    retry_on = method.retry_on if retry is None else retried_exceptions(retry)
    window = options.get("max_buffered") or method.window
    key = (method.name, name, num_returns, group, retries, retry_on, ahead, window) if options else (method.name,)
    template = known.get(key)
    if template is None:
        define = Define(
            0,
            name,
            method.name,
            b"",
            num_returns,
            METHOD,
            {},
            group=group,
            job=job,
            retry_on=retry_on,
            ahead=ahead,
            window=window,
        )
        template = known[key] = TaskTemplate(define, {}, retries)
    return template


def _groups(options: dict[str, Any]) -> dict[str, int]:
    groups: Mapping[str, int] | list[dict[str, Any]] = options.get("concurrency_groups") or {}
    if isinstance(groups, Mapping):
        return dict(groups)
    return {group["name"]: group["max_concurrency"] for group in groups}


def exit_actor() -> NoReturn:
    """End the current actor after the present call, in good order; it is not restarted.

    Raises:
        TypeError: not called in an actor.
    """
    from trayray.worker.exits import ActorExit

    if actor_self() is None:
        raise TypeError("exit_actor called on a non-actor worker.")
    raise ActorExit


def revive_handle(info: ActorInfo, ref: ObjectRef[Any] | None, session: str) -> ActorHandle:
    """The handle that a pickle of the user's names; unpickling calls this.

    Raises:
        RaySystemError: this process does not belong to the actor's cluster.
    """
    check_session(f"the handle of actor {info.class_name} ({info.actor_id.hex()})", session)
    return ActorHandle(info, ref)


def current_handle(pickled: bytes) -> ActorHandle:
    """A handle from the description that the GCS and the actor itself keep; it does not keep the actor alive."""
    from trayray.wire.serialization import deserialize

    return ActorHandle(deserialize(pickled), None)
