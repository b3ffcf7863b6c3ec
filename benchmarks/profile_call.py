"""Where the time of a call goes: the layers of one synchronous call, and of one task within a batch of 10,000.

    python benchmarks/profile_call.py [--calls N] [--batch N]

Each layer is the runtime's own function, timed alone in the process in which it runs; the end-to-end rows are real
calls. What the layers do not explain is scheduling: threads and processes that wake each other. All times are medians.
"""

import argparse
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterable

import trayray as ray
from trayray.api.submission import pack_arguments
from trayray.core.submission import ClassQueue
from trayray.model.ids import TaskIdFactory, object_id
from trayray.wire.frames import FrameDecoder, encode_frame
from trayray.wire.serialization import deserialize, serialize
from trayray.wire.task_messages import TASK, Define, Done, Push, TaskMessage
from trayray.wire.values import INLINE, Value
from trayray.worker.calls import Call, Target
from trayray.worker.current import core_worker
from trayray.worker.references import ObjectRef, ThreadWaiter

#: How many messages of a busy link share a frame.
FRAME = 32
ROUNDS = 9


@ray.remote
def small():
    return b"ok"


def median_us(function: Callable[[], object], times: int = 2000) -> float:
    """Microseconds of one call of ``function``: the median of several rounds of ``times`` calls."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(times):
            function()
        rounds.append((time.perf_counter() - start) / times)
    return statistics.median(rounds) * 1e6


@ray.remote
def execution_us(definition: Define) -> dict[str, float]:
    """The executor's part, measured inside a worker."""
    core = core_worker()
    assert core is not None
    assert core.executor is not None
    target = Target(definition)
    function = target.load()
    push = Push(os.urandom(24), definition.call, b"")
    execute = core.executor.call
    return {
        "execute": median_us(lambda: execute(Call(core, push, target, core.address))),
        "the function itself": median_us(function),
    }


def echo_us() -> float:
    """A round trip of one small frame between two processes that block in recv: what the kernel takes."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        while data := theirs.recv(4096):
            theirs.sendall(data)
        os._exit(0)
    theirs.close()
    data = encode_frame([Push(b"t" * 24, 1, b"")])

    def round_trip() -> None:
        ours.sendall(data)
        ours.recv(4096)

    taken = median_us(round_trip, 500)
    ours.close()
    os.waitpid(child, 0)
    return taken


def wake_us() -> float:
    """From a user thread to the core worker's loop and back."""
    core = core_worker()
    assert core is not None
    lock = threading.Lock()
    lock.acquire()

    def round_trip() -> None:
        core.call_soon(lock.release)
        lock.acquire()

    return median_us(round_trip, 300)


def owner_layers(definition: Define) -> dict[str, float]:
    """The owner's part of a call, function by function."""
    core = core_worker()
    assert core is not None
    ids = TaskIdFactory(core.job, 1)
    task = ids.next_normal()
    push = Push(task, 1, b"")
    done = Done(task, [Value(INLINE, serialize(b"ok").to_bytes())])
    frame_of_one, frame_of_many = encode_frame([push]), encode_frame([push] * FRAME)
    reply_of_one, reply_of_many = encode_frame([done]), encode_frame([done] * FRAME)
    decoder: FrameDecoder[TaskMessage] = FrameDecoder(TaskMessage)
    payload = done.results[0].data

    class Item:
        task_id = task

    queue: ClassQueue[Item] = ClassQueue()
    queue.granted(1, 0.0)

    def decide() -> None:
        queue.submit(Item())
        queue.plan(0.0)
        queue.finished(1, (task,), 0.0)

    def complete() -> None:
        ref = ObjectRef(object_id(task, 1))
        waiter = ThreadWaiter(1, eager=True)
        core.references.add_waiter(ref, waiter)
        core.references.complete(ref, done.results[0])

    return {
        "pack arguments": median_us(lambda: pack_arguments(core, "small", (), {})),
        "pack three plain arguments": median_us(lambda: pack_arguments(core, "small", (1, "a", 2.5), {})),
        "task id and reference": median_us(lambda: ObjectRef(object_id(ids.next_normal(), 1))),
        "decide (queue, plan, finish)": median_us(decide),
        "encode a push": median_us(lambda: encode_frame([push])),
        f"encode a push, {FRAME} a frame": median_us(lambda: encode_frame([push] * FRAME), 200) / FRAME,
        "decode a push": median_us(lambda: decoder.feed(frame_of_one)),
        f"decode a push, {FRAME} a frame": median_us(lambda: decoder.feed(frame_of_many), 200) / FRAME,
        "encode a reply": median_us(lambda: encode_frame([done])),
        "decode a reply": median_us(lambda: decoder.feed(reply_of_one)),
        f"decode a reply, {FRAME} a frame": median_us(lambda: decoder.feed(reply_of_many), 200) / FRAME,
        "complete the reference": median_us(complete),
        "load the value": median_us(lambda: deserialize(payload)),
    }


def end_to_end(calls: int, batch: int) -> dict[str, float]:
    ray.get([small.remote() for _ in range(1000)])
    single: list[float] = []
    for _ in range(calls):
        start = time.perf_counter()
        ray.get(small.remote())
        single.append(time.perf_counter() - start)
    submits: list[float] = []
    totals: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        refs = [small.remote() for _ in range(batch)]
        submits.append((time.perf_counter() - start) / batch)
        ray.get(refs)
        totals.append((time.perf_counter() - start) / batch)
        del refs
    return {
        "one synchronous call": statistics.median(single) * 1e6,
        f"one task of {batch}: submit": statistics.median(submits) * 1e6,
        f"one task of {batch}: submit to value": statistics.median(totals) * 1e6,
    }


def show(title: str, rows: Iterable[tuple[str, float]]) -> None:
    print(f"\n{title}")
    for name, microseconds in rows:
        print(f"  {name:36s} {microseconds:9.2f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=10_000)
    options = parser.parse_args()
    echo = echo_us()  # forks, so it comes before any thread
    ray.init(address="local", num_cpus=2, object_store_memory=100 * 2**20, log_to_driver=False)
    try:
        from trayray.wire.serialization import serialize_definition

        definition = Define(0, "small", "small", serialize_definition(lambda: b"ok").to_bytes(), 1, TASK, {"CPU": 1.0})
        show("the owner's layers", owner_layers(definition).items())
        show("the worker's layers", ray.get(execution_us.remote(definition)).items())
        show("waking", [("user thread, loop, user thread", wake_us()), ("two processes over a socket", echo)])
        show("end to end", end_to_end(options.calls, options.batch).items())
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
