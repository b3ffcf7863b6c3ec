"""Serializers that a program registers for classes it cannot change, in a cluster."""

import threading
from collections.abc import Iterator

import pytest

import trayray
from trayray import cloudpickle, util


class Guarded:
    """Does not pickle by itself."""

    def __init__(self, x):
        self.x = x
        self.lock = threading.Lock()


@pytest.fixture(autouse=True)
def not_registered_afterwards() -> Iterator[None]:
    yield
    util.deregister_serializer(Guarded)


def register(sign=1):
    util.register_serializer(Guarded, serializer=lambda g: sign * g.x, deserializer=Guarded)


@trayray.remote
class Registers:
    def register(self):
        register(-1)

    def send_back(self, value):
        return value


def test_put_and_arguments_and_large_arguments(ray):
    @ray.remote
    def x_of(value):
        return value.x

    with pytest.raises(TypeError, match=r"at \.lock"):
        ray.put(Guarded(1))
    register()
    assert ray.get(ray.put(Guarded(1))).x == 1
    assert ray.get(x_of.remote(Guarded(2))) == 2
    assert ray.get(x_of.remote(value=Guarded(b"x" * 300_000))) == b"x" * 300_000
    assert cloudpickle.loads(cloudpickle.dumps({"g": Guarded(5)}))["g"].x == 5


def test_whoever_sends_must_have_registered(ray):
    register()
    actor = Registers.remote()

    with pytest.raises(TypeError, match="cannot pickle"):
        ray.get(actor.send_back.remote(Guarded(4)))
    ray.get(actor.register.remote())
    assert ray.get(actor.send_back.remote(Guarded(4))).x == -4
    ray.kill(actor)


def test_references_in_what_the_serializer_gives(ray):
    util.register_serializer(
        Guarded, serializer=lambda g: [ray.put(g.x)], deserializer=lambda refs: Guarded(ray.get(refs[0]))
    )

    @ray.remote
    def x_of(value):
        return value.x

    assert ray.get(x_of.remote(Guarded("through an object"))) == "through an object"


@pytest.mark.parametrize(
    ("cls", "functions", "why"),
    [
        (Guarded(1), (str, str), "takes a class, not <"),
        (Guarded, (None, str), "the serializer of Guarded must be a function"),
        (Guarded, (str, "x"), "the deserializer of Guarded must be a function"),
    ],
)
def test_what_cannot_be_registered(cls, functions, why):
    with pytest.raises(TypeError, match=why):
        util.register_serializer(cls, serializer=functions[0], deserializer=functions[1])
