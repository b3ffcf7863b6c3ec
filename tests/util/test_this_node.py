"""The address of this machine, without a cluster. With one: tests/processes/test_runtime_context.py."""

import ipaddress
import socket

import pytest

from trayray.util import get_node_instance_id, get_node_ip_address
from trayray.worker.current import core_worker


@pytest.fixture(autouse=True)
def alone():
    assert core_worker() is None, "these tests need a process that belongs to no cluster"


def test_it_is_an_address():
    ipaddress.ip_address(get_node_ip_address())


def test_the_way_to_this_machine_begins_here():
    assert get_node_ip_address("127.0.0.1:80") == "127.0.0.1"


def test_no_way_there(monkeypatch):
    def unreachable(self, address):
        raise OSError("Network is unreachable")

    class Unreachable(socket.socket):
        connect = unreachable

    monkeypatch.setattr(socket, "socket", Unreachable)
    assert get_node_ip_address("192.0.2.1:80") == "127.0.0.1"


def test_instance_id(monkeypatch):
    monkeypatch.delenv("TRAYRAY_CLOUD_INSTANCE_ID", raising=False)
    monkeypatch.delenv("RAY_CLOUD_INSTANCE_ID", raising=False)
    assert get_node_instance_id() == ""
    monkeypatch.setenv("RAY_CLOUD_INSTANCE_ID", "i-1")
    assert get_node_instance_id() == "i-1"
