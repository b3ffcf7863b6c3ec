import errno
import importlib.util
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests import leftovers, s3_server
from tests.s3_server import keys
from trayray.exceptions import OutOfDiskError
from trayray.model.spilling import SpillConfig
from trayray.node.spill_storage import SpillStorage, check_packages, folder_name, open_storage
from trayray.node.spill_uris import SpillUris

NODE = b"\x02\xcd" * 14
MIB = 1024 * 1024


def config(*uris: str, **params: Any) -> SpillConfig:
    return SpillConfig.parse({"type": "smart_open", "params": {"uri": list(uris), **params}})


def opened(*uris: str, seed: int = 0, **params: Any) -> SpillStorage:
    return open_storage(config(*uris, **params), NODE, pathlib.Path("/unused"), random.Random(seed))


def parts_of(*contents: bytes) -> list[memoryview]:
    return [memoryview(content) for content in contents]


def content_of(storage: SpillStorage, name: str, offset: int, size: int) -> bytes:
    into = bytearray(size)
    storage.read(name, offset, memoryview(into))
    return bytes(into)


@pytest.fixture(scope="module")
def server(nothing_left_behind_by_all: None) -> Iterator[str]:
    """The address of an S3 server on this machine."""
    with leftovers.nothing_left_behind(shared=True), s3_server.running() as address:
        yield address


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the server, with an empty bucket; what the storage finds in its environment leads there."""
    with s3_server.bucket(server, monkeypatch) as client:
        yield client


def uploads(client: Any) -> list[Any]:
    return client.list_multipart_uploads(Bucket="bucket").get("Uploads", [])


# ---------------------------------------------------------------- S3


def test_parts_are_fused_into_one_file(s3):
    storage = opened("s3://bucket/some/path")
    spilled = storage.write(parts_of(b"first", b"", b"second"))

    assert spilled.offsets == (0, 5, 5)
    assert re.fullmatch(rf"s3://bucket/some/path/{folder_name(NODE)}/\w+-multi-3", spilled.name)
    assert content_of(storage, spilled.name, 5, 6) == b"second"
    assert content_of(storage, spilled.name, 5, 0) == b""
    assert [f"s3://bucket/{key}" for key in keys(s3)] == [spilled.name]
    assert storage.local_path(spilled.name) is None
    storage.close()


def test_nothing_is_a_file_too(s3):
    storage = opened("s3://bucket/p")
    spilled = storage.write([])

    assert (spilled.offsets, len(keys(s3))) == ((), 1)
    storage.close()


@pytest.mark.parametrize("buffer_size", [64 * 1024, 6 * MIB])
def test_more_than_one_part_of_an_upload(s3, buffer_size):
    storage = opened("s3://bucket/p", buffer_size=buffer_size)
    contents = [random.Random(seed).randbytes(size) for seed, size in enumerate((7 * MIB, 10, 6 * MIB + 1))]

    spilled = storage.write(parts_of(*contents))

    assert [
        content_of(storage, spilled.name, offset, len(content))
        for offset, content in zip(spilled.offsets, contents, strict=True)
    ] == contents
    storage.close()


def test_buckets_and_paths_take_turns(s3):
    uris = ["s3://bucket/a", "s3://bucket", "s3://bucket/c"]
    orders = set()
    for seed in range(10):
        storage = opened(*uris, seed=seed)
        used = [storage.write(parts_of(b"x")).name.partition(f"/{folder_name(NODE)}")[0] for _ in range(6)]
        assert (sorted(used[:3]), used[3:]) == (sorted(uris), used[:3])
        orders.add(used[0])
        storage.close()

    assert orders == set(uris)


def test_deleting_twice(s3):
    storage = opened("s3://bucket/p")
    first, second = (storage.write(parts_of(content)).name for content in (b"1", b"2"))

    storage.delete(first)
    storage.delete(first)

    assert [f"s3://bucket/{key}" for key in keys(s3)] == [second]
    storage.close()


def test_closing_removes_everything_of_this_node(s3):
    s3.put_object(Bucket="bucket", Key="p/of others", Body=b"")
    storage = opened("s3://bucket/p", "s3://bucket/q")
    for _ in range(4):
        storage.write(parts_of(b"x"))

    storage.close()
    storage.close()

    assert keys(s3) == ["p/of others"]
    with pytest.raises(OSError, match="the node is ending"):
        storage.write(parts_of(b"x"))


@pytest.mark.slow
def test_closing_removes_more_than_one_page(s3):
    for number in range(1001):
        s3.put_object(Bucket="bucket", Key=f"p/{folder_name(NODE)}/{number}", Body=b"")

    opened("s3://bucket/p").close()

    assert keys(s3) == []


def test_threads(s3):
    storage = opened("s3://bucket/a", "s3://bucket/b")

    def there_and_back(number: int) -> bool:
        contents = [bytes([number, index]) * 2000 for index in range(3)]
        spilled = storage.write(parts_of(*contents))
        same = [content_of(storage, spilled.name, at, 4000) for at in spilled.offsets] == contents
        storage.delete(spilled.name)
        return same

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(there_and_back, range(16)))
    assert keys(s3) == []
    storage.close()


def test_a_bucket_that_does_not_exist(s3):
    storage = opened("s3://missing/p")

    with pytest.raises(OSError, match=r"cannot be spilled.*bucket 'missing' does not exist.*s3://missing/p"):
        storage.write(parts_of(b"x"))
    with pytest.raises(OSError, match=r"could not be removed.*NoSuchBucket.*s3://missing/p"):
        storage.close()


def test_a_missing_object(s3):
    storage = opened("s3://bucket/p")
    name = storage.write(parts_of(b"x")).name
    storage.delete(name)

    with pytest.raises(OSError, match=f"cannot be read.*{name}"):
        content_of(storage, name, 0, 1)
    storage.close()


@pytest.mark.parametrize(("offset", "size"), [(0, 6), (4, 3), (5, 1), (9, 1)])
def test_a_short_object(s3, offset, size):
    storage = opened("s3://bucket/p")
    name = storage.write(parts_of(b"12345")).name

    with pytest.raises(OSError, match=f"cannot be read.*{name}"):
        content_of(storage, name, offset, size)
    storage.close()


@pytest.mark.parametrize("call", ["upload_part", "complete_multipart_upload"])
def test_a_failure_leaves_nothing(s3, call):
    """A request that the server refuses, in the middle or at the end of an upload."""
    from botocore.exceptions import ClientError

    storage = opened("s3://bucket/p", buffer_size=5 * MIB)
    assert isinstance(storage, SpillUris)
    (place,) = storage._places.values()
    refused = 0

    def refuse(**_: Any) -> None:
        nonlocal refused
        refused += 1
        raise ClientError({"Error": {"Code": "SlowDown", "Message": "not so fast"}}, call)

    real = getattr(place._client, call)
    setattr(place._client, call, refuse)
    with pytest.raises(OSError, match=r"cannot be spilled.*not so fast.*s3://bucket/p/"):
        storage.write(parts_of(bytes(6 * MIB)))
    setattr(place._client, call, real)

    assert refused == 1
    assert (keys(s3), uploads(s3)) == ([], [])
    storage.close()


def test_closing_while_a_thread_writes(s3):
    """What is uploaded when the storage is closed is not completed."""
    storage = opened("s3://bucket/p", buffer_size=5 * MIB)
    assert isinstance(storage, SpillUris)
    (place,) = storage._places.values()
    real = place._client.upload_part

    def upload_part(**arguments: Any) -> Any:
        closing = threading.Thread(target=storage.close)
        closing.start()
        closing.join()
        return real(**arguments)

    place._client.upload_part = upload_part
    with pytest.raises(OSError, match="the node is ending"):
        storage.write(parts_of(bytes(6 * MIB)))

    assert (keys(s3), uploads(s3)) == ([], [])


def test_only_what_is_asked_for_is_requested(s3):
    storage = opened("s3://bucket/p")
    assert isinstance(storage, SpillUris)
    name = storage.write(parts_of(bytes(MIB), b"wanted", bytes(MIB))).name
    (place,) = storage._places.values()
    asked = []
    place._client.meta.events.register(
        "before-call.s3.GetObject", lambda params, **_: asked.append(params["headers"]["Range"])
    )

    assert content_of(storage, name, MIB, 6) == b"wanted"

    assert asked == [f"bytes={MIB}-{MIB + 5}"]
    storage.close()


@pytest.mark.parametrize("broken", [1, 2, 3])
def test_a_connection_that_breaks_while_it_is_read(s3, broken):
    from botocore.exceptions import ReadTimeoutError

    storage = opened("s3://bucket/p", buffer_size=10)
    assert isinstance(storage, SpillUris)
    (place,) = storage._places.values()
    content = bytes(range(100))
    name = storage.write(parts_of(content)).name
    real, asked = place._client.get_object, []

    class Breaking:
        def __init__(self, body: Any) -> None:
            self.body, self.reads = body, 0
            self.close = body.close

        def readinto(self, into: memoryview) -> int:
            self.reads += 1
            if self.reads == 3:
                raise ReadTimeoutError(endpoint_url="s3")
            return self.body.readinto(into)

    def get_object(**arguments: Any) -> Any:
        asked.append(arguments["Range"])
        answer = real(**arguments)
        return {"Body": Breaking(answer["Body"])} if len(asked) <= broken else answer

    place._client.get_object = get_object
    if broken < 3:
        assert content_of(storage, name, 0, 100) == content
        assert asked == ["bytes=0-99", "bytes=20-99", "bytes=40-99"][: broken + 1]
    else:
        with pytest.raises(OSError, match=f"cannot be read.*ReadTimeoutError.*{name}"):
            content_of(storage, name, 0, 100)
        assert len(asked) == 3
    storage.close()


def test_parameters_for_smart_open(s3):
    wanted = {"S3.Client.create_multipart_upload": {"Metadata": {"of": "a test"}}}
    storage = opened("s3://bucket/p", override_transport_params={"client_kwargs": wanted})
    storage.write(parts_of(b"x"))

    (key,) = keys(s3)
    assert s3.head_object(Bucket="bucket", Key=key)["Metadata"] == {"of": "a test"}
    storage.close()


# ---------------------------------------------------------------- other URIs


def test_files(tmp_path):
    storage = opened(f"file://{tmp_path}/a", f"file://{tmp_path}/b", buffer_size=3)
    spilled = [storage.write(parts_of(b"first", b"second")) for _ in range(2)]

    assert {file.name.rpartition("/")[0] for file in spilled} == {
        f"file://{tmp_path}/{name}/{folder_name(NODE)}" for name in "ab"
    }
    assert [content_of(storage, file.name, 5, 6) for file in spilled] == [b"second"] * 2
    with pytest.raises(OSError, match="1 bytes too early"):
        content_of(storage, spilled[0].name, 5, 7)
    for _ in range(2):
        storage.delete(spilled[0].name)
    storage.close()
    storage.close()
    assert [list((tmp_path / name).iterdir()) for name in "ab"] == [[], []]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_full_files(tmp_path, monkeypatch, number):
    storage = opened(f"file://{tmp_path}")
    assert isinstance(storage, SpillUris)
    (place,) = storage._places.values()
    real = place._open

    def opening(*arguments: Any, **more: Any) -> Any:
        file = real(*arguments, **more)
        file.write(b"something")

        def write(_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(file, "write", write)
        return file

    monkeypatch.setattr(place, "_open", opening)
    with pytest.raises((OSError, OutOfDiskError), match=os.strerror(number)) as caught:
        storage.write(parts_of(b"x"))

    assert isinstance(caught.value, OSError if number == errno.EIO else OutOfDiskError)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    storage.close()


def test_places_where_nothing_can_be_removed_are_told(tmp_path, caplog):
    storage = opened("ftp://127.0.0.1/p")

    assert "what is spilled to ftp://127.0.0.1/p is not removed" in caplog.text
    storage.delete(f"ftp://127.0.0.1/p/{folder_name(NODE)}/x")
    storage.close()


@pytest.mark.parametrize("name", ["s3://bucket/p/x", "", f"file://{{}}/{folder_name(NODE)}/../x", "{}/x"])
@pytest.mark.parametrize("use", ["read", "delete", "local_path"])
def test_names_of_others(tmp_path, name, use):
    storage = opened(f"file://{tmp_path}")
    arguments = (0, memoryview(bytearray(1))) if use == "read" else ()

    with pytest.raises(ValueError, match="no file of spilled objects of this node"):
        getattr(storage, use)(name.format(tmp_path), *arguments)
    storage.close()


# ---------------------------------------------------------------- packages


@pytest.mark.parametrize(
    ("uri", "absent", "says"),
    [
        ("s3://b/p", {"smart_open"}, "needs smart_open, not installed"),
        ("s3://b/p", {"smart_open", "boto3"}, "needs smart_open and boto3, not installed"),
        ("s3://b/p", {"boto3"}, "needs boto3, not installed"),
        ("file:///p", {"boto3"}, None),
        ("/p", {"smart_open", "boto3"}, None),
    ],
)
def test_packages_that_are_not_installed(monkeypatch, uri, absent, says):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find(name))
    wanted = config(uri) if "://" in uri else SpillConfig(places=(uri,))

    if says is None:
        check_packages(wanted)
    else:
        with pytest.raises(ImportError, match=rf"{says}.*pip install 'trayray\[spill\]'"):
            check_packages(wanted)
        with pytest.raises(ImportError, match=says):
            open_storage(wanted, NODE, pathlib.Path("/unused"))


def test_nothing_of_it_is_imported_for_directories(tmp_path):
    program = f"""
import sys
from pathlib import Path
from trayray.model.spilling import SpillConfig
from trayray.node.spill_storage import open_storage
open_storage(SpillConfig(), b"node", Path({str(tmp_path)!r})).close()
assert not {{"smart_open", "boto3", "trayray.node.spill_uris"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
