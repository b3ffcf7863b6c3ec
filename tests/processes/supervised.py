"""Children for tests of supervision, and what they leave in a file: one word a line."""

import os
import pathlib
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import trio

import trayray
from trayray.native.supervision.events import SupervisorEvent


def note(log: str, word: str) -> None:
    """Appended in one piece, whatever else is written."""
    with open(log, "a") as file:
        file.write(f"{word}\n")


def words(log: pathlib.Path | str) -> list[str]:
    path = pathlib.Path(log)
    return path.read_text().split() if path.exists() else []


@trayray.remote(num_cpus=0)
class Child:
    """Says when it starts and when it ends in good order."""

    def __init__(self, log: str, name: str, end_takes: float = 0.0) -> None:
        self.log, self.name, self.end_takes = log, name, end_takes
        self.calls = 0
        note(log, f"start-{name}")

    def pid(self) -> int:
        return os.getpid()

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def leave(self) -> None:
        trayray.actor.exit_actor()

    def exit(self, code: int) -> None:
        raise SystemExit(code)

    def __trayray_shutdown__(self) -> None:
        time.sleep(self.end_takes)
        note(self.log, f"end-{self.name}")


@trayray.remote(num_cpus=0)
class Refuses:
    """Cannot be started, while the file is there."""

    def __init__(self, obstacle: str) -> None:
        if os.path.exists(obstacle):
            raise ValueError("there is an obstacle")

    def pid(self) -> int:
        return os.getpid()


async def kill(handle: Any) -> int:
    """Kill the process of a child."""
    pid = await handle.pid.remote()
    os.kill(pid, signal.SIGKILL)
    return pid


async def until(events: AsyncIterator[SupervisorEvent], kind: str, path: str) -> SupervisorEvent:
    """The next event of this kind."""
    with trio.fail_after(20):
        async for event in events:
            if (event.kind, event.path) == (kind, path):
                return event
    raise AssertionError(f"the supervisor has ended without {kind} of {path}")
