import contextvars
import threading

import pytest

from trayray.worker.daemon_pool import DaemonPool

variable = contextvars.ContextVar("variable", default="nobody's")


def test_threads_are_daemons_started_as_needed_in_the_pools_context():
    token = variable.set("the maker's")
    pool = DaemonPool(3, "group")
    variable.reset(token)

    def look():
        return variable.get(), threading.current_thread()

    seen = [pool.submit(look).result(10) for _ in range(5)]
    assert {value for value, _ in seen} == {"the maker's"}
    threads = {thread for _, thread in seen}
    assert all(thread.daemon and thread.name.startswith("group_") for thread in threads)
    assert len(threads) <= 3
    pool.shutdown()
    assert not any(thread.is_alive() for thread in threads)


def test_calls_run_side_by_side_up_to_the_size():
    pool, barrier = DaemonPool(3, "group"), threading.Barrier(4)
    futures = [pool.submit(barrier.wait) for _ in range(3)]
    behind = pool.submit(lambda: "later")
    assert not behind.done()
    barrier.wait(10)
    assert behind.result(10) == "later"
    assert len({future.result(10) for future in futures}) == 3
    pool.shutdown()


def test_what_a_call_raises_is_its_futures():
    pool = DaemonPool(1, "group")
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(10)
    with pytest.raises(KeyboardInterrupt):
        pool.submit(_interrupted).result(10)
    assert pool.submit(lambda value, *, more: value + more, 1, more=2).result(10) == 3
    pool.shutdown()


def _interrupted():
    raise KeyboardInterrupt


def test_a_withdrawn_call_is_not_made():
    pool, gate = DaemonPool(1, "group"), threading.Event()
    first, second = pool.submit(gate.wait), pool.submit(lambda: "never")
    assert second.cancel()
    gate.set()
    assert first.result(10)
    pool.shutdown()
    assert second.cancelled()


@pytest.mark.parametrize("drops", [False, True])
def test_shutdown_takes_no_more(drops):
    pool, gate = DaemonPool(1, "group"), threading.Event()
    first, second = pool.submit(gate.wait), pool.submit(lambda: "done")
    pool.shutdown(wait=False, cancel_futures=drops)
    with pytest.raises(RuntimeError, match="takes no further calls"):
        pool.submit(lambda: None)
    gate.set()
    assert first.result(10)
    pool.shutdown()
    assert second.cancelled() if drops else second.result(10) == "done"
