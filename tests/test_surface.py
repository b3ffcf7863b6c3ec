"""The names that programs import, and the parameters that they may rely on: those of Ray's documents."""

import importlib
import inspect
import pickle

import pytest

import trayray

#: Ray's parameters with their defaults. Further keyword-only parameters are trayray's own.
SIGNATURES = {
    "get": "object_refs, *, timeout=None, _use_object_store=False",
    "put": "value, *, _owner=None, _tensor_transport=None",
    "wait": "ray_waitables, *, num_returns=1, timeout=None, fetch_local=True",
    "kill": "actor, *, no_restart=True",
    "cancel": "ray_waitable, *, force=False, recursive=True",
    "get_actor": "name, namespace=None",
    "timeline": "filename=None",
    "shutdown": "*, wait_for_processes=False, _exiting_interpreter=False",
    "init": "address=None, *, num_cpus=None, num_gpus=None, resources=None, labels=None, object_store_memory=None, "
    "local_mode=False, ignore_reinit_error=False, include_dashboard=None, dashboard_host='127.0.0.1', "
    "dashboard_port=None, job_config=None, configure_logging=True, logging_level='info', logging_format=None, "
    "logging_config=None, log_to_driver=None, namespace=None, runtime_env=None, enable_resource_isolation=False, "
    "cgroup_path=None, system_reserved_cpu=None, system_reserved_memory=None, proxy_server_url=None, **kwargs",
    "java_function": "class_name, function_name",
    "java_actor_class": "class_name",
    "NodeID.from_hex": "hex_id",
    "NodeID.from_binary": "id_bytes",
    "JobID.from_int": "value",
    "job_config.JobConfig.set_runtime_env": "self, runtime_env, validate=False",
    "exceptions.RayTaskError": "function_name, traceback_str, cause, proctitle=None, pid=None, ip=None, "
    "actor_repr=None, actor_id=None",
    "exceptions.ActorDiedError": "cause=None",
    "exceptions.TaskCancelledError": "task_id=None, error_message=None",
    "util.ActorPool": "actors",
    "util.ActorPool.get_next": "self, timeout=None, ignore_if_timedout=False",
    "util.as_completed": "refs, *, chunk_size=10, yield_obj_refs=False, **kwargs",
    "util.map_unordered": "fn, items, *, backpressure_size=100, chunk_size=10, yield_obj_refs=False, **kwargs",
    "util.list_named_actors": "all_namespaces=False",
    "util.get_node_ip_address": "address=None",
    "util.inspect_serializability": "base_obj, name=None, depth=3, print_file=None",
    "util.register_serializer": "cls, *, serializer, deserializer",
    "util.deregister_serializer": "cls",
    "util.placement_group": "bundles, strategy=None, name='', lifetime=None, _soft_target_node_id=None, "
    "bundle_label_selector=None, topology_strategy=None",
    "util.queue.Queue": "maxsize=0, actor_options=None",
    "util.queue.Queue.put": "self, item, block=True, timeout=None",
    "util.queue.Queue.shutdown": "self, force=False, grace_period_s=5",
    "util.multiprocessing.Pool": "processes=None, initializer=None, initargs=None, maxtasksperchild=None, "
    "context=None, ray_address=None, ray_remote_args=None",
    "util.multiprocessing.Pool.apply": "self, func, args=None, kwargs=None",
    "util.multiprocessing.Pool.apply_async": "self, func, args=None, kwargs=None, callback=None, error_callback=None",
    "util.multiprocessing.Pool.starmap_async": "self, func, iterable, callback=None, error_callback=None",
    "util.multiprocessing.Pool.imap": "self, func, iterable, chunksize=1",
    "util.metrics.Counter": "name, description='', tag_keys=None",
    "util.metrics.Histogram": "name, description='', boundaries=None, tag_keys=None",
    "util.scheduling_strategies.NodeAffinitySchedulingStrategy": "node_id, soft, _spill_on_unavailable=False, "
    "_fail_on_unavailable=False",
    "util.scheduling_strategies.PlacementGroupSchedulingStrategy": "placement_group, "
    "placement_group_bundle_index=-1, placement_group_capture_child_tasks=None",
    "util.collective.allreduce": "tensor, group_name='default', op=<ReduceOp.SUM: 0>",
    "dag.MultiOutputNode": "args, other_args_to_resolve=None",
    "dag.DAGNode.execute": "self, *args, _ray_cache_refs=False, **kwargs",
}

MODULES = [
    "actor",
    "cloudpickle",
    "cluster_utils",
    "cross_language",
    "dag",
    "exceptions",
    "job_config",
    "remote_function",
    "runtime_context",
    "util",
    "util.accelerators",
    "util.collective",
    "util.joblib",
    "util.metrics",
    "util.multiprocessing",
    "util.placement_group",
    "util.queue",
    "util.rpdb",
    "util.scheduling_strategies",
]


def parameters(function):
    """The signature as text, without annotations."""
    signature = inspect.signature(function)
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return list(map(str, plain))


def named(path):
    found = trayray
    for name in path.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("path", SIGNATURES)
def test_parameters_are_those_of_ray(path):
    expected = SIGNATURES[path].split(", ")
    star = [place for place, text in enumerate(expected) if text == "*"]
    expected = [text for text in expected if text != "*"]
    function = named(path)
    found = inspect.signature(function).parameters.values()

    texts = parameters(function)

    own = [text for text, known in zip(texts, found, strict=True) if known.kind is known.KEYWORD_ONLY]
    assert [text for text in texts if text in expected or text not in own] == expected
    if star:
        assert texts.index(own[0]) == star[0], "what is keyword-only"


@pytest.mark.parametrize("path", ["", *MODULES])
def test_every_name_that_is_listed_is_there(path):
    module = importlib.import_module(f"trayray.{path}".rstrip("."))

    assert [name for name in dir(module) if not hasattr(module, name)] == []
    assert set(getattr(module, "__all__", ())) <= set(dir(module))


@pytest.mark.parametrize("path", MODULES)
def test_modules_are_reached_without_being_imported(path):
    assert named(path) is importlib.import_module(f"trayray.{path}") or path == "util.placement_group"


def test_a_name_that_is_not_there():
    for module in (trayray, trayray.util):
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'no_such_name'"):
            module.no_such_name  # noqa: B018 -- looking is the test


def test_the_debugger_has_two_names():
    assert trayray.util.pdb is trayray.util.rpdb


def test_languages():
    kinds = [trayray.Language.PYTHON, trayray.Language.JAVA, trayray.Language.CPP]
    assert [(repr(kind), kind.value()) for kind in kinds] == [("PYTHON", 0), ("JAVA", 1), ("CPP", 2)]
    assert pickle.loads(pickle.dumps(kinds)) == kinds
    assert len(set(kinds)) == 3
    with pytest.raises(ValueError, match="no language 3"):
        trayray.Language(3)


def test_modes_are_the_numbers_of_ray():
    modes = trayray.SCRIPT_MODE, trayray.WORKER_MODE, trayray.SPILL_WORKER_MODE, trayray.RESTORE_WORKER_MODE
    assert modes == (0, 1, 2, 3)
