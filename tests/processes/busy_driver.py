"""A driver whose cluster does everything that might outlive it. Run as a program: ``busy_driver.py NOTES [ORDER...]``.

It starts tasks that sleep, are busy in C code and have children of their own, actors of all kinds and large objects,
says "running" and waits for all of them, which never end. ORDER says how it ends instead (`ENDS`).
"""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import time

import trayray as ray

NOTES, *ORDERS = sys.argv[1:]
FOREVER = 600


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note(name):
    """Tell the test that something runs."""
    (pathlib.Path(NOTES) / name).write_text(str(os.getpid()))


@ray.remote(num_cpus=0)
def sleep():
    note("sleep")
    time.sleep(FOREVER)


@ray.remote(num_cpus=0)
def loop():
    note("loop")
    sum(range(10**11))  # holds the interpreter's lock: no other thread of the worker can do anything


@ray.remote(num_cpus=0)
def have_children():
    subprocess.Popen(["sleep", str(FOREVER)])
    subprocess.Popen(["sleep", str(FOREVER)], start_new_session=True)
    subprocess.Popen(["sh", "-c", f"sleep {FOREVER} & sleep {FOREVER}"])
    subprocess.run(["sh", "-c", f"setsid sleep {FOREVER} > /dev/null 2>&1 &"], check=True)  # a daemon
    note("children")
    time.sleep(FOREVER)


@ray.remote
class Actor:
    def sleep(self):
        note("actor")
        time.sleep(FOREVER)


@ray.remote
class Async:
    async def sleep(self):
        note("async actor")
        await asyncio.sleep(FOREVER)


@ray.remote(max_concurrency=2)
class Threaded:
    def sleep(self):
        note("threaded actor")
        time.sleep(FOREVER)


@ray.remote(num_cpus=0)
def large():
    return bytes(10 * 2**20)


@ray.remote(num_cpus=0)
def double(number):
    return 2 * number


def connect():
    elsewhere = {"_temp_dir": os.path.join(os.getcwd(), "elsewhere")} if "elsewhere" in ORDERS else {}
    ray.init(address="local", num_cpus=4, object_store_memory=80 * 2**20, log_to_driver=False, **elsewhere)


def start_everything():
    objects = [ray.put(bytes(10 * 2**20)), large.remote()]
    ray.get(objects)
    actors = [Actor.remote(), Async.remote(), Threaded.remote()]
    calls = [actor.sleep.remote() for actor in actors] + [actors[2].sleep.remote()]
    return objects, actors, [sleep.remote(), loop.remote(), have_children.remote(), *calls]


def fail():
    raise LookupError("the driver fails")


def shut_down():
    ray.shutdown()
    say("left")


def fork_and_go_on():
    """A child of the driver that exits in good order leaves the driver's cluster alone."""
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)
    say(ray.get(double.remote(21), timeout=10))


def fork_and_vanish():
    """A child of the driver that outlives it holds copies of the driver's sockets."""
    if os.fork() == 0:
        os.chdir("/")  # it is no part of the cluster
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdin.read()
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


ENDS = {
    "return": lambda: None,
    "raise": fail,
    "exit": lambda: sys.exit(3),
    "_exit": lambda: os._exit(3),
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "interrupt": lambda: os.killpg(0, signal.SIGINT),
    "fork": fork_and_go_on,
    "fork and vanish": fork_and_vanish,
    "shutdown": shut_down,
    "work": lambda: say(ray.get(double.remote(21), timeout=10)),
}


def main():
    held = None
    try:
        connect()
        held = start_everything()
        say("running")
        if ORDERS:
            for order in sys.stdin:
                ENDS[order.strip()]()
        else:
            ray.get(held[2])
    except (ray.exceptions.LocalRayletDiedError, ray.exceptions.RaySystemError, ConnectionError) as error:
        if ORDERS:
            raise
        say(f"lost: {type(error).__name__}: {error}")
        sys.stdin.read()


if __name__ == "__main__":
    main()
