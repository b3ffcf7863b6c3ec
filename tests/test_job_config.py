import pickle
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import init_arguments
from trayray.cluster_utils import Cluster
from trayray.job_config import JobConfig


def test_defaults():
    config = JobConfig()

    assert (config.runtime_env, config.metadata, config.ray_namespace) == ({}, {}, None)
    assert not config.detaches_actors


def test_setters():
    config = JobConfig()
    config.set_metadata("submitter", "me")
    config.set_ray_namespace("home")
    config.set_runtime_env({"env_vars": {"A": "1"}})
    config.set_default_actor_lifetime("detached")

    copy = pickle.loads(pickle.dumps(config))
    assert (copy.metadata, copy.ray_namespace, copy.runtime_env) == (
        {"submitter": "me"},
        "home",
        {"env_vars": {"A": "1"}},
    )
    assert copy.detaches_actors


def test_a_runtime_env_is_checked_when_that_is_asked_for():
    config = JobConfig()
    config.set_runtime_env({"env_vars": {"A": "1"}}, validate=True)
    wrong: Any = ["A"]
    with pytest.raises(TypeError, match="must be a dict, not list"):
        config.set_runtime_env(wrong, validate=True)
    assert config.runtime_env == {"env_vars": {"A": "1"}}


def test_from_json():
    config = JobConfig.from_json({"ray_namespace": "home", "metadata": {"a": "b"}})

    assert (config.ray_namespace, config.metadata, config.runtime_env) == ("home", {"a": "b"}, {})


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"default_actor_lifetime": "eternal"}, ValueError, "'eternal'"),
        ({"code_search_path": "/a"}, TypeError, "must be a list"),
    ],
)
def test_mistakes(arguments: dict[str, Any], error: type[Exception], says: str):
    with pytest.raises(error, match=says):
        JobConfig(**arguments)


def test_init_takes_it(fresh_ray: ModuleType):
    config = JobConfig(ray_namespace="home", runtime_env={"env_vars": {"GREETING": "hello"}})
    fresh_ray.init(**init_arguments(num_cpus=1, job_config=config))

    @fresh_ray.remote
    def greeting() -> tuple[str, str]:
        import os

        return os.environ["GREETING"], fresh_ray.get_runtime_context().namespace

    assert fresh_ray.get(greeting.remote()) == ("hello", "home")


def test_default_lifetime_of_actors(fresh_ray: ModuleType):
    cluster = Cluster(initialize_head=True)
    config = JobConfig(ray_namespace="home", default_actor_lifetime="detached")

    class Plain:
        def spawn(self) -> bool:
            inner = fresh_ray.remote(Plain).options(name="inner", num_cpus=0).remote()
            return fresh_ray.get(inner.__ray_ready__.remote())

    actor = fresh_ray.remote(num_cpus=0)(Plain)
    try:
        fresh_ray.init(address=cluster.address, job_config=config, log_to_driver=False)
        kept = actor.options(name="kept").remote()
        mortal = actor.options(name="mortal", lifetime="non_detached").remote()
        fresh_ray.get([kept.spawn.remote(), mortal.__ray_ready__.remote()])
        fresh_ray.shutdown()

        fresh_ray.init(address=cluster.address, namespace="home", log_to_driver=False)
        assert sorted(fresh_ray.util.list_named_actors()) == ["inner", "kept"]
    finally:
        fresh_ray.shutdown()
        cluster.shutdown()
