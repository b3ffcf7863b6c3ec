import os
import stat
import subprocess
import sys

import pytest

from trayray.node.session import Session, find_session, live_sessions, root_dir


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TRAYRAY_TMPDIR", str(tmp_path))
    return root_dir()


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_this_user_may_enter(root):
    session = Session.create(root, "secret")
    for path in (root, session.path, session.sockets, session.logs):
        assert mode(path) == 0o700
    assert mode(session.path / "token") == 0o600
    assert session.token() == "secret"


def test_a_root_that_is_open_to_others_is_closed(root):
    root.chmod(0o755)
    assert root_dir() == root
    assert mode(root) == 0o700


def test_where_the_root_is(tmp_path, monkeypatch):
    name = f"trayray-{os.getuid()}"
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "rays"))
    monkeypatch.delenv("TRAYRAY_TMPDIR", raising=False)
    assert root_dir() == tmp_path / "rays" / name
    monkeypatch.setenv("TRAYRAY_TMPDIR", str(tmp_path / "ours"))
    assert root_dir() == tmp_path / "ours" / name
    assert root_dir(str(tmp_path / "given")) == tmp_path / "given" / name


def test_sessions_of_one_instant_are_apart(root):
    assert len({Session.create(root, "t").path for _ in range(20)}) == 20


def test_a_published_session_is_found(root):
    session = Session.create(root, "t")
    assert find_session("auto", root) is None
    session.publish("127.0.0.1:1234", os.getpid(), private=False)
    assert find_session("auto", root) == session
    assert find_session("127.0.0.1:1234", root) == session
    assert find_session("127.0.0.1:1", root) is None
    assert (session.address(), session.pid(), session.private()) == ("127.0.0.1:1234", os.getpid(), False)
    assert mode(session.path / "address.json") == 0o600


def test_the_latest_wins_and_private_ones_are_for_who_knows_them(root):
    first, second, third = (Session.create(root, "t") for _ in range(3))
    first.publish("127.0.0.1:1", os.getpid(), private=False)
    second.publish("127.0.0.1:2", os.getpid(), private=False)
    third.publish("127.0.0.1:3", os.getpid(), private=True)
    assert find_session("auto", root, started_by_hand=True) == second
    assert find_session("127.0.0.1:3", root) == third


def test_sessions_of_dead_nodes_are_cleaned_but_for_their_logs(root):
    session = Session.create(root, "t")
    session.publish("127.0.0.1:1234", dead_pid(), private=False)
    (session.sockets / "node").touch()
    (session.logs / "node.log").write_text("kept")
    assert live_sessions(root) == []
    assert sorted(path.name for path in session.path.iterdir()) == ["logs"]
    assert (session.logs / "node.log").read_text() == "kept"


def test_cleaning_twice_is_harmless(root):
    session = Session.create(root, "t")
    session.publish("127.0.0.1:1234", os.getpid(), private=False)
    session.clean()
    session.clean()
    assert live_sessions(root) == []


def test_a_session_elsewhere_is_linked_from_the_usual_place(root, tmp_path):
    elsewhere = root_dir(str(tmp_path / "elsewhere"))
    session = Session.create(elsewhere, "t")
    session.publish("127.0.0.1:1234", os.getpid(), private=False)
    assert find_session("127.0.0.1:1234", root) == session
    session.clean()
    assert list(root.iterdir()) == []


def test_a_link_to_a_session_that_was_removed_goes(root, tmp_path):
    import shutil

    session = Session.create(root_dir(str(tmp_path / "elsewhere")), "t")
    session.publish("127.0.0.1:1234", os.getpid(), private=False)
    shutil.rmtree(session.path)
    assert live_sessions(root) == []
    assert list(root.iterdir()) == []


def test_a_session_that_is_still_starting_is_left_alone(root):
    session = Session.create(root, "t")
    assert live_sessions(root) == []
    assert session.token() == "t"
