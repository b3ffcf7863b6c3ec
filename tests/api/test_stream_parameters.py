import inspect

import pytest

import trayray
from trayray.api.stream_parameters import Fit, check_fit, stream_fit

streams = trayray


async def takes_stream(stream: trayray.Stream[int, str], x: int) -> None: ...
async def names_it_by_text(stream: "streams.Stream[int, str]") -> None: ...
async def takes_anything(stream) -> None: ...
async def takes_many(*streams) -> None: ...
async def takes_number(x: int) -> None: ...
async def takes_something_alike(x: "StreamReader") -> None: ...  # noqa: F821 -- nothing of that name is there
async def takes_nothing() -> None: ...
async def takes_keywords(*, stream: trayray.Stream[int, str]) -> None: ...
async def would_block(stream: trayray.BlockingStream[int, str]) -> None: ...
def blocks(stream: trayray.BlockingStream) -> None: ...
def cannot_await(stream: trayray.Stream[int, str]) -> None: ...
def generates(stream):
    yield stream


@pytest.mark.parametrize(
    ("function", "fit"),
    [
        (takes_stream, Fit.FITS),
        (names_it_by_text, Fit.FITS),
        (takes_anything, Fit.FITS),
        (takes_many, Fit.FITS),
        (blocks, Fit.FITS),
        (takes_number, Fit.OTHER_ANNOTATION),
        (takes_something_alike, Fit.OTHER_ANNOTATION),
        (takes_nothing, Fit.NO_PARAMETER),
        (takes_keywords, Fit.NO_PARAMETER),
        (would_block, Fit.BLOCKS_LOOP),
        (cannot_await, Fit.CANNOT_AWAIT),
        (generates, Fit.GENERATOR),
    ],
)
def test_fit(function, fit):
    assert stream_fit(function, list(inspect.signature(function).parameters.values())) is fit


def test_each_reason_has_words():
    check_fit(Fit.FITS, "talk")
    for fit in set(Fit) - {Fit.FITS}:
        with pytest.raises(TypeError, match=r"talk\(\) cannot be called with a stream: "):
            check_fit(fit, "talk")
