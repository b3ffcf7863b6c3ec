"""The table of living references."""

import gc
import threading

from trayray.worker.known_references import KnownReferences
from trayray.worker.references import ObjectRef


def object_id(number):
    return number.to_bytes(28, "little")


def test_a_reference_is_known_as_long_as_it_lives():
    known = KnownReferences()
    ref = ObjectRef(object_id(1))
    known[object_id(1)] = ref
    assert known.get(object_id(1)) is ref
    assert object_id(1) in known
    assert (list(known), known.values(), len(known)) == ([object_id(1)], [ref], 1)
    del ref
    gc.collect()
    assert known.get(object_id(1)) is None
    assert object_id(1) not in known
    assert (list(known), known.values(), len(known)) == ([], [], 0)


def test_the_end_of_an_older_reference_does_not_take_a_newer_one_out():
    known = KnownReferences()
    older, newer = ObjectRef(object_id(1)), ObjectRef(object_id(1))
    known[object_id(1)] = older
    known[object_id(1)] = newer
    del older
    gc.collect()
    assert known.get(object_id(1)) is newer


def test_references_come_and_go_in_other_threads_while_one_looks():
    known = KnownReferences()
    kept = [ObjectRef(object_id(number)) for number in range(50)]
    for ref in kept:
        known[ref.binary()] = ref

    def come_and_go(first):
        for number in range(first, first + 2000):
            known[object_id(number)] = ObjectRef(object_id(number))

    threads = [threading.Thread(target=come_and_go, args=(first,)) for first in (1000, 100_000)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert set(known.values()) >= set(kept)
    for thread in threads:
        thread.join()
    assert sorted(known) == sorted(ref.binary() for ref in kept)
