"""mypy's plugin: remote classes and bound methods that are not decorated keep their types through ``.remote``.

Enabled in mypy's configuration with ``plugins = trayray.mypy``; nothing else imports it. mypy ignores what a class
decorator returns and has no type that maps a class onto its remote methods. The plugin gives a class decorated with
``remote`` its ``.remote``, ``.options`` and ``.bind``, gives bound methods the same, and lets a reference stand for any
argument of ``.remote``, keywords included. Not here: what checkers do by themselves (``api.shapes``), pyright
(``cli.typings``).
"""

# The parameters of mypy's own `copy_modified` have defaults of an unstated type.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy.checker import TypeChecker
from mypy.checkmember import analyze_member_access
from mypy.maptype import map_instance_to_supertype
from mypy.nodes import MDEF, SymbolTableNode, TypeInfo, Var
from mypy.plugin import AttributeContext, ClassDefContext, FunctionContext, MethodContext, MethodSigContext, Plugin
from mypy.plugins.common import add_attribute_to_class
from mypy.typeops import type_object_type
from mypy.types import (
    AnyType,
    CallableType,
    FunctionLike,
    Instance,
    Overloaded,
    Parameters,
    Type,
    TypeOfAny,
    TypeType,
    TypeVarType,
    UnionType,
    get_proper_type,
)

_SHAPES: Final = "trayray.api.shapes"
_CALLS: Final = f"{_SHAPES}.calls"
_ACTORS: Final = f"{_SHAPES}.actors"
#: Where the types live that the plugin makes or looks for.
_HOME_OF: Final = {
    "ObjectRef": "trayray.worker.references",
    "ObjectRefGenerator": _CALLS,
    "Callee": _CALLS,
    "RemoteFunction": _CALLS,
    "ActorMethod": _ACTORS,
    "Method": _ACTORS,
    "OptionsCall": _ACTORS,
    "BindCall": _ACTORS,
}
_MARKER: Final = f"{_ACTORS}.GivenByPlugin"
_REMOTE: Final = "trayray.api.decorators.remote"
_DECORATORS: Final = {f"trayray.api.decorators.{name}" for name in ("remote", "task", "method")}
_FACTORIES: Final = {
    f"{_SHAPES}.decorating.{name}.__call__" for name in ("RemoteDecorator", "TaskDecorator", "MethodDecorator")
}
#: What a decorated class, and a bound method, has besides its own attributes.
_ADDED: Final = ("remote", "options", "bind")
_ITERATORS: Final = {f"typing.{name}" for name in ("Generator", "Iterator", "AsyncGenerator", "AsyncIterator")}


def _give_class_its_remote(ctx: ClassDefContext) -> bool:
    """Declare ``.remote``, ``.options`` and ``.bind`` on a decorated class; False asks for another pass."""
    marker = ctx.api.named_type_or_none(_MARKER)
    if marker is None:
        return False
    for name in _ADDED:
        if name not in ctx.cls.info.names:
            add_attribute_to_class(ctx.api, ctx.cls, name, marker, is_classvar=True)
    return True


class _Builder:
    """Builds the types of remote calls from those of plain calls."""

    def __init__(self, checker: TypeChecker) -> None:
        self.checker = checker

    def class_of(self, name: str) -> TypeInfo:
        node = self.checker.modules[_HOME_OF[name]].names[name].node
        assert isinstance(node, TypeInfo)
        return node

    def instance(self, name: str, args: list[Type]) -> Instance:
        return Instance(self.class_of(name), args)

    def outcome(self, returned: Type) -> Type:
        """What .remote gives for a function that returns this."""
        proper = get_proper_type(returned)
        if isinstance(proper, Instance):
            if proper.type.fullname == "typing.Coroutine":
                return self.instance("ObjectRef", [proper.args[2]])
            if proper.type.fullname in _ITERATORS:
                return self.instance("ObjectRefGenerator", [proper.args[0]])
        return self.instance("ObjectRef", [returned])

    def or_ref(self, argument: Type) -> Type:
        if isinstance(get_proper_type(argument), (AnyType,)):
            return argument
        return UnionType([argument, self.instance("ObjectRef", [argument])])

    def call(self, called: CallableType) -> CallableType:
        """The signature of .remote for a plain signature."""
        return called.copy_modified(
            arg_types=[self.or_ref(argument) for argument in called.arg_types],
            ret_type=self.outcome(called.ret_type),
            name="remote",
        )

    def construct(self, called: CallableType) -> CallableType:
        """The signature of Class.remote for that of the constructor."""
        return called.copy_modified(
            arg_types=[self.or_ref(argument) for argument in called.arg_types],
            name="remote",
            fallback=self.checker.named_type("builtins.function"),
        )

    def parameters(self, called: CallableType) -> Parameters:
        return Parameters(called.arg_types, called.arg_kinds, called.arg_names, variables=called.variables)

    def actor_method(self, called: CallableType) -> Instance:
        return self.instance("ActorMethod", [self.parameters(called), self.outcome(called.ret_type)])


def _class_attribute(ctx: AttributeContext) -> Type:
    """The type of ``.remote``, ``.options`` or ``.bind`` of a remote class."""
    checker, declared = ctx.api, get_proper_type(ctx.default_attr_type)
    assert isinstance(checker, TypeChecker)
    if not isinstance(declared, Instance) or declared.type.fullname != _MARKER:
        return ctx.default_attr_type
    owner, name, build = get_proper_type(ctx.type), getattr(ctx.context, "name", "remote"), _Builder(checker)
    if isinstance(owner, TypeType) and isinstance(item := get_proper_type(owner.item), Instance):
        owner = get_proper_type(type_object_type(item.type, checker.named_type))
    if isinstance(owner, Overloaded) and name == "remote":
        return Overloaded([build.construct(item) for item in owner.items])
    if name == "bind" and isinstance(owner, FunctionLike):
        return build.instance("BindCall", [owner.items[0].ret_type])
    if not isinstance(owner, CallableType):
        return AnyType(TypeOfAny.special_form)
    if name == "remote":
        return build.construct(owner)
    return build.instance("OptionsCall", [build.parameters(owner), owner.ret_type])


def _function_attribute(ctx: AttributeContext) -> Type:
    """The type of ``.remote``, ``.options`` or ``.bind`` of a function: only bound methods have them."""
    checker = ctx.api
    assert isinstance(checker, TypeChecker)
    function, name = get_proper_type(ctx.type), getattr(ctx.context, "name", "remote")
    items = function.items if isinstance(function, FunctionLike) else []
    if not items or not all(item.is_bound for item in items):
        checker.fail(f'A plain function has no attribute "{name}"; decorate it with remote', ctx.context)
        return AnyType(TypeOfAny.from_error)
    build = _Builder(checker)
    if name == "remote":
        calls = [build.call(item) for item in items]
        return calls[0] if len(calls) == 1 else Overloaded(calls)
    if len(items) > 1:
        return AnyType(TypeOfAny.special_form)
    method = build.actor_method(items[0])
    return analyze_member_access(
        name,
        method,
        ctx.context,
        is_lvalue=False,
        is_super=False,
        is_operator=False,
        original_type=method,
        chk=checker,
    )


def _generic_function(ctx: FunctionContext | MethodContext) -> Type:
    """Corrects the decorators for functions that return a bare type variable.

    Such a function also fits the overloads for coroutines and iterators, which come first.
    """
    checker, target = ctx.api, get_proper_type(ctx.arg_types[0][0]) if ctx.arg_types and ctx.arg_types[0] else None
    made = get_proper_type(ctx.default_return_type)
    assert isinstance(checker, TypeChecker)
    if not isinstance(target, CallableType) or not isinstance(made, Instance) or target.is_type_obj():
        return ctx.default_return_type
    returned = get_proper_type(target.ret_type)
    if not isinstance(returned, TypeVarType) or returned not in target.variables:
        return ctx.default_return_type
    build = _Builder(checker)
    ref = build.instance("ObjectRef", [returned])
    if made.type.fullname == f"{_CALLS}.RemoteFunction":
        return build.instance("RemoteFunction", [build.parameters(target), ref])
    if made.type.fullname == f"{_ACTORS}.Method" and target.arg_kinds and target.arg_kinds[0].is_positional():
        rest = Parameters(target.arg_types[1:], target.arg_kinds[1:], target.arg_names[1:], variables=target.variables)
        return build.instance("Method", [target.arg_types[0], rest, returned, ref])
    return ctx.default_return_type


def _call_with_refs(ctx: MethodSigContext) -> FunctionLike:
    """The exact signature of Callee.remote with references allowed for every argument."""
    checker = ctx.api
    owner = get_proper_type(ctx.type)
    assert isinstance(checker, TypeChecker)
    build = _Builder(checker)
    callee = build.class_of("Callee")
    if not isinstance(owner, Instance) or not owner.type.has_base(callee.fullname):
        return ctx.default_signature
    parameters, out = map_instance_to_supertype(owner, callee).args
    parameters = get_proper_type(parameters)
    if not isinstance(parameters, Parameters):
        return ctx.default_signature
    return ctx.default_signature.copy_modified(
        arg_types=[build.or_ref(argument) for argument in parameters.arg_types],
        arg_kinds=parameters.arg_kinds,
        arg_names=parameters.arg_names,
        variables=parameters.variables,
        ret_type=out,
    )


class RemotePlugin(Plugin):
    """Hooks; see the module."""

    _functions_done = False

    def _give_functions_remote(self) -> None:
        """Makes .remote known on functions, so that mypy asks the attribute hook about it."""
        if self._functions_done:
            return
        known = self.lookup_fully_qualified("builtins.function") if self._modules else None
        if known is None or not isinstance(known.node, TypeInfo):
            return
        for name in _ADDED:
            var = Var(name, AnyType(TypeOfAny.special_form))
            var.info, var._fullname = known.node, f"builtins.function.{name}"
            known.node.names[name] = SymbolTableNode(MDEF, var, plugin_generated=True)
        self._functions_done = True

    def get_class_decorator_hook_2(self, fullname: str) -> Callable[[ClassDefContext], bool] | None:
        return _give_class_its_remote if fullname == _REMOTE else None

    def get_function_signature_hook(self, fullname: str) -> None:
        self._give_functions_remote()

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        return _generic_function if fullname in _DECORATORS else None

    def get_method_hook(self, fullname: str) -> Callable[[MethodContext], Type] | None:
        return _generic_function if fullname in _FACTORIES else None

    def get_method_signature_hook(self, fullname: str) -> Callable[[MethodSigContext], FunctionLike] | None:
        self._give_functions_remote()
        if fullname.startswith(f"{_SHAPES}.") and fullname.endswith(".remote"):
            return _call_with_refs
        return None

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        self._give_functions_remote()
        owner, _, name = fullname.rpartition(".")
        return _function_attribute if owner == "builtins.function" and name in _ADDED else None

    def get_class_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        return _class_attribute if fullname.rpartition(".")[2] in _ADDED else None

    def get_customize_class_mro_hook(self, fullname: str) -> None:
        self._give_functions_remote()

    def get_type_analyze_hook(self, fullname: str) -> None:
        self._give_functions_remote()


def plugin(version: str) -> type[Plugin]:
    return RemotePlugin
