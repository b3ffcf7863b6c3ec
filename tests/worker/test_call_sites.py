"""Where references were made, as it is recorded when asked for."""

import gc

import pytest

from trayray.worker.call_sites import PUT, CallSites, recorder
from trayray.worker.current import Running, running
from trayray.worker.references import ObjectRef

HERE = __file__


@pytest.fixture
def sites():
    return CallSites()


def make(sites, refs):
    sites.made(PUT, refs)


def nested(sites, refs, depth):
    return make(sites, refs) if depth == 0 else nested(sites, refs, depth - 1)


def test_the_innermost_three_lines(sites):
    refs = [ObjectRef(bytes([number]) * 28) for number in (1, 2)]

    nested(sites, refs, 3)

    text = sites.of(refs[0])
    assert text == sites.of(refs[1])
    what, *lines = text.split(" | ")
    assert what == PUT
    assert [line.rsplit(":", 1)[0] for line in lines] == [f"{HERE}:make", f"{HERE}:nested", f"{HERE}:nested"]


def test_arguments_tell_the_task_that_they_are_for(sites):
    ref = ObjectRef(b"a" * 28)
    token = running.set(Running(b"t" * 24, "f", "module.f", {}, b"\1\0\0\0"))
    try:
        sites.adopted(ref, argument=True)
    finally:
        running.reset(token)

    assert sites.of(ref) == "(deserialize task arg) module.f"


def test_a_constructors_arguments(sites):
    ref = ObjectRef(b"a" * 28)
    token = running.set(Running(b"t" * 24, "Clerk.__init__", "__init__", {}, b"\1\0\0\0"))
    try:
        sites.adopted(ref, argument=True)
    finally:
        running.reset(token)

    assert sites.of(ref) == "(deserialize actor task arg) Clerk.__init__"


def test_a_reference_inside_a_value(sites):
    ref = ObjectRef(b"a" * 28)

    sites.adopted(ref, argument=False)

    assert sites.of(ref).startswith(f"{HERE}:test_a_reference_inside_a_value:")


def test_it_goes_with_its_reference(sites):
    ref = ObjectRef(b"a" * 28)
    make(sites, [ref])

    del ref
    gc.collect()

    assert not sites._sites
    assert sites.of(ObjectRef(b"b" * 28)) == ""


def test_off_unless_asked_for(monkeypatch):
    for name in ("TRAYRAY_record_ref_creation_sites", "RAY_record_ref_creation_sites"):
        monkeypatch.delenv(name, raising=False)
    assert recorder() is None
    monkeypatch.setenv("RAY_record_ref_creation_sites", "1")
    assert recorder() is not None
    monkeypatch.setenv("TRAYRAY_record_ref_creation_sites", "0")
    assert recorder() is None
    monkeypatch.setenv("TRAYRAY_record_ref_creation_sites", "perhaps")
    with pytest.raises(ValueError, match="TRAYRAY_record_ref_creation_sites must be 1 or 0"):
        recorder()
