import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayray.model.spilling import FILESYSTEM, SMART_OPEN, SpillConfig, StoreSettings

MIB = 1024 * 1024


def filesystem(**params):
    return {"type": "filesystem", "params": params}


def smart_open(**params):
    return {"type": "smart_open", "params": params}


# ---------------------------------------------------------------- object_spilling_config


@pytest.mark.parametrize("write", [lambda config: config, json.dumps], ids=["dict", "JSON"])
def test_one_directory(write):
    assert SpillConfig.parse(write(filesystem(directory_path="/a/b/"))) == SpillConfig(FILESYSTEM, ("/a/b",))


def test_several_directories():
    config = SpillConfig.parse(filesystem(directory_path=["/a", "/b/../c"], buffer_size=1_000_000))

    assert (config.places, config.buffer_size) == (("/a", "/c"), 1_000_000)


def test_a_path(tmp_path):
    assert SpillConfig.parse(filesystem(directory_path=tmp_path)).places == (str(tmp_path),)


def test_one_uri():
    config = SpillConfig.parse(smart_open(uri="s3://bucket/path/"))

    assert config == SpillConfig(SMART_OPEN, ("s3://bucket/path",), MIB)


def test_several_uris():
    uris = ["s3://bucket/a", "gs://bucket/b", "file:///c"]

    assert SpillConfig.parse(smart_open(uri=uris)).places == tuple(uris)


@pytest.mark.parametrize(
    "config",
    [
        {**smart_open(uri="s3://b/p"), "buffer_size": 7},
        smart_open(uri="s3://b/p", buffer_size=7),
        {**smart_open(uri="s3://b/p", buffer_size=7), "buffer_size": 7},
    ],
    ids=["beside", "among", "both"],
)
def test_buffer_size_beside_the_parameters_or_among_them(config):
    assert SpillConfig.parse(config).buffer_size == 7


def test_parameters_for_smart_open():
    given_ = {"client_kwargs": {"S3.Client.put_object": {"ACL": "private"}}}

    assert SpillConfig.parse(smart_open(uri="s3://b/p", override_transport_params=given_)).transport == given_


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "not valid JSON"),
        ("[1]", r"must be a dict \(a JSON object\), not \[1\]"),
        (7, "must be a dict"),
        ({}, '"type" must be "filesystem" or "smart_open", not None'),
        ({"type": "tape", "params": {}}, "not 'tape'"),
        ({"type": ["filesystem"], "params": {}}, r"not \['filesystem'\]"),
        ({"type": "filesystem"}, '"params" must have "directory_path"'),
        (filesystem(), '"params" must have "directory_path"'),
        (smart_open(), '"params" must have "uri"'),
        ({"type": "filesystem", "params": "/a"}, '"params" must be a dict'),
        ({**filesystem(directory_path="/a"), "parms": {}}, "unknown key 'parms'; known are 'type', 'params'"),
        (filesystem(directory_path="/a", uri="s3://a/b"), "unknown key 'uri'; known are 'directory_path'"),
        (filesystem(directory_path="/a", x=1, y=2), "unknown keys 'x', 'y'"),
        (filesystem(directory_path="a/b"), "must be an absolute path, not 'a/b'"),
        (filesystem(directory_path=["/a", "b"]), "must be an absolute path, not 'b'"),
        (filesystem(directory_path=[]), "empty list"),
        (filesystem(directory_path=""), "path of a directory, not ''"),
        (filesystem(directory_path=None), "path of a directory, not None"),
        (filesystem(directory_path=[["/a"]]), "path of a directory"),
        (filesystem(directory_path="/a\0b"), "null character"),
        (filesystem(directory_path="/a", buffer_size=0), '"buffer_size" must be a whole number of bytes, at least 1'),
        (filesystem(directory_path="/a", buffer_size=-1), '"buffer_size"'),
        (filesystem(directory_path="/a", buffer_size="1M"), "not '1M'"),
        (filesystem(directory_path="/a", buffer_size=True), "not True"),
        (filesystem(directory_path="/a", buffer_size=1.5), "not 1.5"),
        (filesystem(directory_path="/a", buffer_size=float("inf")), "not inf"),
        ({**smart_open(uri="s3://b/p", buffer_size=7), "buffer_size": 8}, "say it once"),
        (smart_open(uri="/a/b"), "must be a URI such as \"s3://bucket/path\", not '/a/b'"),
        (smart_open(uri="s3://"), "must be a URI"),
        (smart_open(uri=["s3://a/b", 3]), "must be a URI .* not 3"),
        (smart_open(uri="s3://key:secret@bucket/path"), "credentials"),
        (smart_open(uri="file://a/b"), "absolute path"),
        (smart_open(uri="s3://a/b", override_transport_params=[]), '"override_transport_params" must be a dict'),
    ],
)
def test_each_mistake_is_told(config, says):
    with pytest.raises(ValueError, match=says):
        SpillConfig.parse(config)


def test_credentials_are_not_repeated():
    with pytest.raises(ValueError, match="credentials") as caught:
        SpillConfig.parse(smart_open(uri="s3://key:secret@bucket/path"))

    assert "secret" not in str(caught.value)


# ---------------------------------------------------------------- settings


def test_what_holds_when_nothing_is_said():
    settings = StoreSettings.from_sources({}, {})

    assert settings == StoreSettings()
    assert settings == StoreSettings(
        spilling=SpillConfig(FILESYSTEM, (), None, 0.95),
        automatic=True,
        threshold=0.8,
        min_spilling_size=100 * MIB,
        max_fused_object_count=2000,
        max_io_workers=4,
        full_seconds=10,
    )


#: A setting's name, what it is called here, a value, another one.
SETTINGS = [
    ("automatic_object_spilling_enabled", "automatic", False, True),
    ("object_spilling_threshold", "threshold", 0.5, 1.0),
    ("min_spilling_size", "min_spilling_size", 0, 7),
    ("max_fused_object_count", "max_fused_object_count", 1, 7),
    ("max_io_workers", "max_io_workers", 2, 7),
    ("object_store_full_seconds", "full_seconds", 0.5, 7.0),
]


@pytest.mark.parametrize(("name", "field", "first", "second"), SETTINGS)
def test_where_a_setting_is_said(name, field, first, second):
    def of(system_config, **environment):
        return getattr(StoreSettings.from_sources(system_config, environment), field)

    said = {f"TRAYRAY_{name}": str(first), f"RAY_{name}": str(second)}
    assert of({name: first}) == first
    assert of({}, **{f"RAY_{name}": str(second)}) == second
    assert of({}, **said) == first, "trayray's own variable comes first"
    assert of({name: second}, **said) == second, "an argument comes before the environment"
    assert of({name: None}, **{f"TRAYRAY_{name}": "", f"RAY_{name}": str(second)}) == second, "nothing is said by these"


def test_the_disks_threshold_holds_for_every_configuration():
    config = filesystem(directory_path="/a")
    for system_config in ({}, {"object_spilling_config": config}, {"object_spilling_directory": "/a"}):
        settings = StoreSettings.from_sources({**system_config, "local_fs_capacity_threshold": 0.5}, {})
        assert settings.spilling.capacity_threshold == 0.5


@pytest.mark.parametrize("name", ["object_spilling_threshold", "local_fs_capacity_threshold"])
@pytest.mark.parametrize("value", [0, -0.1, 1.1, float("nan"), True, "0.5", None])
def test_shares_are_between_0_and_1(name, value):
    if value is None:
        assert StoreSettings.from_sources({name: value}, {}) == StoreSettings()
    else:
        with pytest.raises(ValueError, match=rf'_system_config\["{name}"\] must be a number above 0, up to 1'):
            StoreSettings.from_sources({name: value}, {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("object_spilling_threshold", "much"),
        ("object_spilling_threshold", "0"),
        ("local_fs_capacity_threshold", "95"),
        ("min_spilling_size", "-1"),
        ("min_spilling_size", "1.5"),
        ("min_spilling_size", "100M"),
        ("max_fused_object_count", "0"),
        ("max_io_workers", "0"),
        ("max_io_workers", "yes"),
        ("object_store_full_seconds", "-1"),
        ("object_store_full_seconds", "inf"),
        ("automatic_object_spilling_enabled", "2"),
        ("automatic_object_spilling_enabled", "maybe"),
        ("object_spilling_directory", "relative"),
        ("object_spilling_config", "{"),
    ],
)
@pytest.mark.parametrize("prefix", ["TRAYRAY_", "RAY_"])
def test_a_wrong_text_in_the_environment(prefix, name, text):
    with pytest.raises(ValueError, match="object_spilling_config" if text == "{" else prefix + name):
        StoreSettings.from_sources({}, {prefix + name: text})


@pytest.mark.parametrize(("text", "meaning"), [("1", True), ("0", False), ("true", True), ("False", False)])
def test_yes_and_no(text, meaning):
    settings = StoreSettings.from_sources({}, {"RAY_automatic_object_spilling_enabled": text})

    assert settings.automatic is meaning


def test_a_directory_goes_before_a_config():
    config = json.dumps(filesystem(directory_path="/config"))
    environment = {"RAY_object_spilling_config": config}

    def places(system_config, environment, directory=None):
        return StoreSettings.from_sources(system_config, environment, directory).spilling.places

    assert places({}, environment) == ("/config",)
    assert places({"object_spilling_config": config}, {}) == ("/config",)
    environment["RAY_object_spilling_directory"] = "/environment"
    assert places({"object_spilling_config": config}, environment) == ("/environment",)
    assert places({"object_spilling_directory": "/system"}, environment) == ("/system",)
    assert places({"object_spilling_directory": "/system"}, environment, "/argument") == ("/argument",)


@pytest.mark.parametrize("nothing", [None, "", {}])
def test_what_says_nothing(nothing):
    said = {"object_spilling_config": nothing, "object_spilling_directory": nothing, "max_io_workers": nothing}

    assert StoreSettings.from_sources(said, {}, nothing) == StoreSettings()


@pytest.mark.parametrize("directory", ["here", 7])
def test_a_wrong_directory(directory):
    with pytest.raises(ValueError, match="object_spilling_directory must be"):
        StoreSettings.from_sources({}, {}, directory)


paths = st.lists(st.text("abc/", max_size=5).map(lambda rest: f"/{rest}"), min_size=1, max_size=3)


@given(
    spilling=st.none()
    | paths.map(lambda places: filesystem(directory_path=places))
    | st.just(smart_open(uri="s3://b/p")),
    sizes=st.dictionaries(st.sampled_from(["min_spilling_size", "max_io_workers"]), st.integers(1, 10**12)),
    shares=st.dictionaries(
        st.sampled_from(["object_spilling_threshold", "local_fs_capacity_threshold"]), st.floats(0.001, 1)
    ),
)
def test_they_travel_as_json(spilling, sizes, shares):
    settings = StoreSettings.from_sources({"object_spilling_config": spilling, **sizes, **shares}, {})

    assert StoreSettings.from_dict(json.loads(json.dumps(attrs.asdict(settings)))) == settings
