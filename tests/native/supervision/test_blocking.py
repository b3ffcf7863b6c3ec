"""Supervisors of programs that block: what needs no cluster."""

import threading

from trayray.native.supervision.blocking import _events
from trayray.native.supervision.events import EventReader, SupervisorEvent


def test_what_comes_just_before_the_end_is_not_lost() -> None:
    more = threading.Event()

    class Late(EventReader):
        """The supervisor ends when nothing is left to take."""

        def take(self) -> SupervisorEvent | None:
            event = super().take()
            if event is None and not self.closed:
                self.put(SupervisorEvent("ended", ""))
                self.close()
            return event

    assert [event.kind for event in _events(Late(more.set), more)] == ["ended"]
