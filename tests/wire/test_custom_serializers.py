import pickle
import threading
from collections.abc import Iterator

import pytest

from trayray.wire import custom_serializers
from trayray.wire.serialization import deserialize, serialize, serialize_arguments


class Guarded:
    """Does not pickle by itself."""

    def __init__(self, x):
        self.x = x
        self.lock = threading.Lock()


class Derived(Guarded):
    pass


class Reducible:
    def __reduce__(self):
        return str, ("its own way",)


@pytest.fixture(autouse=True)
def none_registered() -> Iterator[None]:
    yield
    for cls in (Guarded, Derived, Reducible):
        custom_serializers.deregister(cls)


def read(payload):
    """What a process reads that knows nothing of registrations: plain pickle."""
    return deserialize(payload.to_bytes())


def test_the_deserializer_travels_with_the_value():
    custom_serializers.register(Guarded, lambda g: g.x, lambda x: ("made of", x))
    payload = serialize([Guarded(3)])
    custom_serializers.deregister(Guarded)

    assert read(payload) == [("made of", 3)]


def test_arguments_are_serialized_so_too():
    custom_serializers.register(Guarded, lambda g: g.x, lambda x: ("made of", x))

    assert read(serialize_arguments((Guarded(1),), {"k": Guarded(2)})) == (
        (("made of", 1),),
        {"k": ("made of", 2)},
    )


def test_registering_again_replaces_at_once():
    custom_serializers.register(Guarded, lambda g: g.x, lambda x: x)
    custom_serializers.register(Guarded, lambda g: -g.x, lambda x: x)

    assert read(serialize((Guarded(3),))) == (-3,)


def test_without_registration_the_class_is_itself_again():
    custom_serializers.register(Guarded, lambda g: g.x, lambda x: x)
    custom_serializers.register(Reducible, lambda r: None, lambda _: "registered")
    custom_serializers.deregister(Guarded)

    with pytest.raises(TypeError, match="lock"):
        serialize(Guarded(1))
    assert read(serialize(Reducible())) == "registered"
    custom_serializers.deregister(Reducible)
    custom_serializers.deregister(Reducible)
    assert read(serialize(Reducible())) == "its own way"


def test_subclasses_are_not_concerned():
    custom_serializers.register(Guarded, lambda g: g.x, lambda x: x)

    with pytest.raises(TypeError, match="lock"):
        serialize(Derived(1))


def test_errors_of_the_serializer_come_through():
    def refuse(guarded):
        raise LookupError("no way to write this")

    custom_serializers.register(Guarded, refuse, lambda x: x)

    with pytest.raises(LookupError, match="no way"):
        serialize([Guarded(1)])


def test_what_cloudpickle_can_do_it_can_still_do():
    """Lambdas, local classes and what cloudpickle registers for itself."""
    custom_serializers.register(Guarded, lambda g: g.x, lambda x: x)

    class Local:
        pass

    assert read(serialize([lambda: 5]))[0]() == 5
    assert isinstance(read(serialize(Local())), Local)
    assert list(read(serialize({1: 2}.keys()))) == [1]


def test_the_usual_pickler_is_used_while_nothing_is_registered():
    from trayray.wire import serialization

    assert serialization._custom_pickler is None
    custom_serializers.register(Guarded, lambda g: g.x, lambda x: x)
    assert serialization._custom_pickler is custom_serializers.CustomPickler
    custom_serializers.deregister(Guarded)
    assert serialization._custom_pickler is None


def test_pickle_itself_knows_nothing_of_registrations():
    custom_serializers.register(Guarded, lambda g: g.x, lambda x: x)

    with pytest.raises(TypeError, match="lock"):
        pickle.dumps(Guarded(1))
