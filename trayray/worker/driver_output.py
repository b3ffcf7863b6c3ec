"""What workers print and what the node has to say, shown on the driver's terminal.

Not here: how it gets there (``node.worker_output``, ``node.waiting``).
"""

import queue
import sys
import threading

from trayray.wire.process_messages import LogLines


class LinePrinter:
    """Prints workers' lines in a thread of its own: a terminal or pipe that nobody reads must not stop the loop."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[LogLines | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="trayray-output", daemon=True)
        self._started = False

    def show(self, message: LogLines) -> None:
        """Print these lines soon, after those before them; in the loop's thread."""
        if not self._started:
            self._started = True
            self._thread.start()
        self._queue.put(message)

    def finish(self, seconds: float) -> None:
        """Wait until everything has been printed, at most so long."""
        if self._started:
            self._queue.put(None)
            self._thread.join(seconds)

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            print_log_lines(message)


def print_log_lines(message: LogLines) -> None:
    """Show a worker's output on this process's terminal."""
    stream = sys.stderr if message.stderr else sys.stdout
    if stream is None:  # a driver without a console
        return
    prefix = f"({message.name} pid={message.pid}) " if message.pid else f"({message.name}) "
    text = "".join(f"{prefix}{line}\n" for line in message.lines)
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):  # the terminal is closed: the lines are in the workers' log files
        return
