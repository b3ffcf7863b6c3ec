import pytest

import trayray
from tests.conftest import init_arguments
from trayray import cross_language
from trayray.exceptions import ActorUnschedulableError, TaskUnschedulableError
from trayray.job_config import JobConfig

add = cross_language.java_function("io.demo.Math", "add")
Counter = cross_language.java_actor_class("io.demo.Counter")
plus = cross_language.cpp_function("Plus")
Native = cross_language.cpp_actor_class("CreateCounter", "Counter")


@trayray.remote(num_cpus=0)
class Python:
    def where(self):
        return "here"


def test_a_job_without_code_search_path(ray):
    for callable_ in (add, Counter, plus, Native):
        with pytest.raises(ValueError, match=r"Cross language calls need a code search path.*JobConfig"):
            callable_.remote(1, 2)


def test_calls_end_in_an_error_that_says_why(fresh_ray):
    fresh_ray.init(**init_arguments(num_cpus=1), job_config=JobConfig(code_search_path=["/opt/jars"]))
    handle = Python.remote()

    with pytest.raises(TaskUnschedulableError, match=r"io\.demo\.Math\.add is Java code.*Python workers only"):
        add.options(num_cpus=1).remote(1, [2.0, None, b"x", handle])
    with pytest.raises(ActorUnschedulableError, match=r"io\.demo\.Counter is Java code"):
        Counter.options(num_cpus=1).remote("a")
    with pytest.raises(TaskUnschedulableError, match=r"Plus is C\+\+ code"):
        plus.remote()
    with pytest.raises(ActorUnschedulableError, match=r"Counter\(CreateCounter\) is C\+\+ code"):
        Native.remote()
    with pytest.raises(TypeError, match="no keyword arguments"):
        add.remote(1, y=2)
    with pytest.raises(TypeError, match="a tuple, cannot be sent"):
        add.remote((1, 2))
    with pytest.raises(ValueError, match="an int must be in"):
        add.remote(2**64)

    @fresh_ray.remote
    def in_a_task():
        return add.remote(1)

    with pytest.raises(TaskUnschedulableError, match="Java code"):
        fresh_ray.get(in_a_task.remote())
    assert not fresh_ray.get_runtime_context()._core().references.pins_out_of_band, "a check keeps no actor alive"


def test_actor_handles_are_among_the_values_that_languages_share(ray):
    handle = Python.remote()
    (name, again) = cross_language.unpack(cross_language.pack(["name", handle]))

    assert (name, ray.get(again.where.remote())) == ("name", "here")
    assert again == handle
    ray.kill(handle)


def test_misuse():
    with pytest.raises(TypeError, match=r"try 'io\.demo\.Math\.add\.remote\(\)'"):
        add(1)
    with pytest.raises(TypeError, match=r"use 'io\.demo\.Counter\.remote\(\)'"):
        Counter()
    with pytest.raises(ValueError, match="num_cpu"):
        add.options(num_cpu=1)
    with pytest.raises(TypeError, match="names in other languages are text"):
        cross_language.java_function("io.demo.Math", add)


def test_the_names_at_the_top():
    assert trayray.java_function is cross_language.java_function
    assert trayray.java_actor_class is cross_language.java_actor_class
    assert trayray.cpp_function is cross_language.cpp_function
