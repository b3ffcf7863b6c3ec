"""Clusters that spill to where they were told to: an argument, the environment, S3."""

import pathlib

import pytest

from tests import s3_server
from tests.conftest import init_arguments
from trayray.exceptions import RaySystemError

MIB = 1024 * 1024


def there_and_back(ray) -> list[object]:
    """Twice what the store has room for; all of it is right."""
    references = [ray.put(bytes([number]) * (20 * MIB)) for number in range(8)]
    for number, reference in enumerate(references):
        content = ray.get(reference)
        assert (len(content), content[0], content[-1]) == (20 * MIB, number, number)
    return references


def files(directory: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def arguments(**more):
    return init_arguments(object_store_memory=80 * MIB, **more)


def test_an_argument(fresh_ray, tmp_path):
    fresh_ray.init(**arguments(object_spilling_directory=str(tmp_path / "own")))

    references = there_and_back(fresh_ray)

    assert files(tmp_path / "own")
    fresh_ray.shutdown()
    assert list((tmp_path / "own").iterdir()) == []
    del references


@pytest.mark.parametrize("prefix", ["TRAYRAY", "RAY"])
def test_the_environment(fresh_ray, tmp_path, monkeypatch, prefix):
    monkeypatch.setenv(f"{prefix}_object_spilling_directory", str(tmp_path / "own"))
    fresh_ray.init(**arguments())

    references = there_and_back(fresh_ray)

    assert files(tmp_path / "own")
    del references


def test_a_place_that_cannot_be_used_ends_the_start(fresh_ray, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(RaySystemError, match=f"the folder for spilled objects cannot be used.*{tmp_path}/file/below"):
        fresh_ray.init(**arguments(object_spilling_directory=str(tmp_path / "file" / "below")))


@pytest.mark.slow
def test_s3(fresh_ray, monkeypatch):
    with s3_server.running() as address, s3_server.bucket(address, monkeypatch) as s3:
        uris = ["s3://bucket/a", "s3://bucket/b"]
        config = {"type": "smart_open", "params": {"uri": uris}, "buffer_size": 8 * MIB}
        fresh_ray.init(**arguments(_system_config={"object_spilling_config": config, "min_spilling_size": 20 * MIB}))

        references = there_and_back(fresh_ray)

        assert {key[0] for key in s3_server.keys(s3)} == {"a", "b"}
        del references
        fresh_ray.shutdown()
        assert s3_server.keys(s3) == []
