"""An S3 server of this machine in a process of its own, for as long as a `with` block lasts."""

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def running() -> Iterator[str]:
    """A server; its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
                    break
            else:
                raise AssertionError(f"the S3 server has ended:\n{said}")
            # It writes a line for each request, and would wait for a reader.
            reader = threading.Thread(target=process.stderr.read)
            reader.start()
            yield found[1]
        finally:
            process.kill()
        reader.join()


@contextlib.contextmanager
def bucket(address: str, environment: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty "bucket" on the server, to which the environment leads, and a client that looks at it."""
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "of a test",
        "AWS_SECRET_ACCESS_KEY": "of a test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        environment.setenv(name, value)
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    for key in keys(client):
        client.delete_object(Bucket="bucket", Key=key)
    client.delete_bucket(Bucket="bucket")
    client.close()


def keys(client: Any) -> list[str]:
    """Names of what is in the bucket."""
    return [entry["Key"] for entry in client.list_objects_v2(Bucket="bucket").get("Contents", ())]
