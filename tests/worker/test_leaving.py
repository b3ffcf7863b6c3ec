"""`trayray.worker.leaving`: when a stack of frames has something to clean up. The rest is in tests/processes."""

import contextlib
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from trayray.worker.leaving import _has_blocks, _is_user_code, calls_user_code


def plain(function: Callable[[], Any]) -> Any:
    return function()


def with_try(function: Callable[[], Any]) -> Any:
    try:
        return function()
    finally:
        assert function


def with_block(function: Callable[[], Any]) -> Any:
    with contextlib.ExitStack():
        return function()


def in_cleanup(function: Callable[[], Any]) -> Any:
    try:
        assert function
    finally:
        result = function()
    return result


def stack_of(*callers: Callable[[Callable[[], Any]], Any]) -> Any:
    """What `_has_blocks` says of a thread in which these functions call each other, the first one outermost."""
    said: list[bool] = []

    def innermost() -> None:
        said.append(_has_blocks(sys._getframe()))

    function: Callable[[], Any] = innermost
    for caller in reversed(callers):
        function = partial(caller, function)
    boundary = _compiled("def run(function):\n    function()\n", "worker/execution.py")["run"]
    thread = threading.Thread(target=boundary, args=(function,))
    thread.start()
    thread.join()
    return said[0]


def _compiled(source: str, name: str) -> dict[str, Any]:
    """Names that ``source`` defines, as if it were in this file of the package."""
    import trayray

    namespace: dict[str, Any] = {}
    exec(compile(source, f"{trayray.__path__[0]}/{name}", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("block", [with_try, with_block, in_cleanup])
def test_a_block_anywhere_in_user_code_counts(block: Any) -> None:
    assert stack_of(block)
    assert stack_of(plain, block, plain)


def test_code_without_blocks_has_nothing_to_clean_up() -> None:
    assert not stack_of(plain, plain)
    assert not stack_of()


def test_blocks_of_the_runtime_do_not_count() -> None:
    """Neither those that call user code, nor those that it calls."""
    runtime = _compiled(
        "def get(function):\n    try:\n        function()\n    finally:\n        pass\n", "api/blocking.py"
    )

    assert not stack_of(runtime["get"])
    assert stack_of(with_try, runtime["get"])


def test_user_code_may_be_interrupted_and_the_runtime_not() -> None:
    said: list[bool] = []
    entrance = calls_user_code(_compiled("def step(function):\n    function()\n", "worker/a.py")["step"])
    other = _compiled("def other(function):\n    function()\n", "worker/b.py")["other"]

    def ask() -> None:
        said.append(_is_user_code(sys._getframe()))

    entrance(ask)
    entrance(lambda: plain(ask))
    entrance(lambda: other(ask))
    other(ask)

    assert said == [True, True, False, False]
