"""What tests of cancellation share: how long it may take, and what may be left."""

import os
import time

import pytest

from tests import leftovers
from tests.processes.waiting import eventually

GRACE = 0.5
#: A machine with other work to do may be that late.
SLACK = 3.0


def says(note, text):
    return eventually(lambda: note.exists() and text in (said := note.read_text()) and said)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def step_of(ray, ref, within=10.0):
    """How the cancelled call ended."""
    with pytest.raises(ray.exceptions.TaskCancelledError) as caught:
        ray.get(ref, timeout=within)
    return caught.value.step


def all_is_free(ray):
    """No task, no lease, no reference of a call is left at this driver, and every resource is back."""
    from trayray.worker.current import core_worker

    core = core_worker()
    assert core is not None
    eventually(lambda: not core.tasks.pending and not core.actors.pending and not core.cancellations._cancelled)
    eventually(lambda: ray.available_resources() == ray.cluster_resources())
    eventually(lambda: not any(queue.leases or queue.queue for queue in core.tasks.queues.values()))


def worker_count():
    """Processes below the fork server of this driver's node."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    parents = {pid: leftovers._parent(pid) for pid in pids}
    node = {pid for pid, parent in parents.items() if parent == os.getpid()}
    fork_server = {pid for pid, parent in parents.items() if parent in node}
    return sum(parent in fork_server for parent in parents.values())


def cancelled_call(ray, note, method, after="running"):
    """A call of ``method`` that was cancelled when it ran; the reference, and when."""
    ref = method.remote()
    says(note, after)
    started = time.monotonic()
    ray.cancel(ref)
    return ref, started


class Worker:
    def __init__(self, note):
        self.note = note
        self.seen = []

    def pid(self):
        return os.getpid()

    def all_seen(self):
        return self.seen

    def sleep(self):
        self.note.write_text("running")
        time.sleep(60)
        self.seen.append("side effect")

    def spin(self):
        self.note.write_text("running")
        while True:
            time.sleep(0.001)

    def look(self):
        import trayray

        self.note.write_text("running")
        while not trayray.get_runtime_context().is_canceled():
            time.sleep(0.001)
        self.seen.append("told")
        return "not wanted"

    def hold_the_interpreter(self):
        self.note.write_text("running")
        sum(range(10**13))

    def count(self):
        self.note.write_text("running")
        number = 0
        while True:
            yield number
            number += 1
            time.sleep(0.001)
