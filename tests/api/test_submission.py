import inspect
import pickle
import threading
from inspect import Parameter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.api.submission import CallShape, pack_arguments
from trayray.wire.serialization import ArgumentSlot, deserialize

NAMES = ("a", "b", "c", "d", "e", "f")


@st.composite
def functions(draw):
    """A function with any legal list of parameters."""
    kinds = [
        *[Parameter.POSITIONAL_ONLY] * draw(st.integers(0, 2)),
        *[Parameter.POSITIONAL_OR_KEYWORD] * draw(st.integers(0, 2)),
        *[Parameter.VAR_POSITIONAL] * draw(st.integers(0, 1)),
        *[Parameter.KEYWORD_ONLY] * draw(st.integers(0, 2)),
    ]
    parameters, optional = [], False
    for name, kind in zip(NAMES, kinds, strict=False):
        if kind is Parameter.VAR_POSITIONAL:
            parameters.append(Parameter(name, kind))
            continue
        # Once a positional parameter has a default, those after it need one too.
        has_default = draw(st.booleans()) or (optional and kind is not Parameter.KEYWORD_ONLY)
        optional = optional or has_default
        parameters.append(Parameter(name, kind, default=None if has_default else Parameter.empty))
    if draw(st.booleans()):
        parameters.append(Parameter("rest", Parameter.VAR_KEYWORD))

    def function(*args, **kwargs):
        return args, kwargs

    function.__signature__ = inspect.Signature(parameters)
    return function


calls = st.tuples(
    st.lists(st.integers(), max_size=6).map(tuple),
    st.dictionaries(st.sampled_from([*NAMES, "other"]), st.integers(), max_size=4),
)


def verdict(check, args, kwargs):
    try:
        check(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None


@given(function=functions(), call=calls)
def test_the_verdict_is_pythons_own(function, call):
    args, kwargs = call
    shape = CallShape("f", function)
    expected = verdict(inspect.signature(function).bind, args, kwargs)
    expected = expected if expected is None else f"f() {expected}"
    assert verdict(lambda *a, **k: shape.check(a, k), args, kwargs) == expected
    revived = pickle.loads(pickle.dumps(shape))
    assert verdict(lambda *a, **k: revived.check(a, k), args, kwargs) == expected


@given(function=functions(), call=calls)
def test_the_verdict_on_a_method_leaves_self_out(function, call):
    args, kwargs = call
    signature = inspect.signature(function)
    expected = verdict(lambda *a, **k: signature.bind("self", *a, **k), args, kwargs)
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
        return  # not a method: nothing takes self
    if first.name in kwargs and first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        return  # self given twice: said differently
    got = verdict(lambda *a, **k: CallShape("m", function, skip_first=True).check(a, k), args, kwargs)
    assert (got is None) == (expected is None), (got, expected)


def test_functions_without_a_signature_take_anything():
    CallShape("print", min).check((1, 2, 3), {"key": abs})


def test_the_message_names_the_function():
    with pytest.raises(TypeError, match=r"^area\(\) missing a required argument: 'height'$"):
        CallShape("area", lambda width, height: None).check((1,), {})


def test_no_arguments_need_no_payload():
    packed = pack_arguments(None, "f", (), {})
    assert (packed.payload, packed.args, packed.refs) == (b"", None, None)


def test_plain_arguments():
    packed = pack_arguments(None, "f", (1, "two"), {"three": [3.0]})
    assert deserialize(packed.payload) == ((1, "two"), {"three": [3.0]})
    assert (packed.args, packed.refs) == (None, None)


class Core:
    """Takes what pack_arguments puts into the store."""

    def __init__(self):
        from trayray.worker.references import ObjectRef

        self.objects = self
        self.stored = []
        self._ref = ObjectRef

    def put(self, serialized):
        self.stored.append(serialized)
        return self._ref(bytes([len(self.stored)]) * 28)


def test_references_get_slots_in_the_order_of_the_arguments():
    core = Core()
    first, second = core._ref(b"1" * 28), core._ref(b"2" * 28)
    packed = pack_arguments(core, "f", (first, 5, first), {"x": second})
    assert packed.args == [first, first, second]
    args, kwargs = deserialize(packed.payload)
    assert [args[0].index, args[1], args[2].index, kwargs["x"].index] == [0, 5, 1, 2]


@given(sizes=st.lists(st.sampled_from([10, 60_000, 150_000]), min_size=1, max_size=4), by_keyword=st.booleans())
def test_large_arguments_become_objects(sizes, by_keyword):
    core = Core()
    ref = core._ref(b"r" * 28)
    parts = {f"p{i}": b"x" * size for i, size in enumerate(sizes)}
    args, kwargs = ((ref,), parts) if by_keyword else ((ref, *parts.values()), {})
    packed = pack_arguments(core, "f", args, kwargs)
    got_args, got_kwargs = deserialize(packed.payload)

    def value(argument):
        if type(argument) is not ArgumentSlot:
            return argument
        found = packed.args[argument.index]
        return found if found is ref else deserialize(core.stored[found.binary()[0] - 1].to_bytes())

    assert tuple(map(value, got_args)) == args
    assert {key: value(argument) for key, argument in got_kwargs.items()} == kwargs
    assert all(len(part) <= 100 * 1024 for part in [*got_args, *got_kwargs.values()] if isinstance(part, bytes))
    assert len(core.stored) == sum(size > 100 * 1024 for size in sizes)


@pytest.mark.parametrize(
    ("args", "kwargs", "where"),
    [
        ((1, threading.Lock()), {}, "the argument 1 of f()"),
        ((), {"option": {"lock": threading.Lock()}}, "the argument 'option' of f() at ['lock']"),
    ],
)
def test_the_argument_that_does_not_pickle_is_named(args, kwargs, where):
    with pytest.raises(TypeError) as caught:
        pack_arguments(None, "f", args, kwargs)
    assert f"Could not serialize {where}: " in str(caught.value)
