"""What checkers see of streams: items and results are typed at both ends."""

from typing import assert_type

import trayray
from trayray import BlockingStream, Stream


@trayray.task
async def lengths(stream: Stream[str, int]) -> bool:
    async for word in stream:
        assert_type(word, str)
        await stream.send(len(word))
    return True


@trayray.remote
class Talker:
    async def words(self, stream: Stream[int, str], prefix: str, times: int = 1) -> float:
        assert_type(await stream.receive(), int)
        async for number in stream:
            assert_type(number, int)
            await stream.send(prefix * number * times)
        await stream.send_eof()
        return 0.5

    def plain(self, stream: BlockingStream[int, str]) -> bytes:
        assert_type(stream.receive(), int)
        for number in stream:
            assert_type(number, int)
            stream.send(str(number))
        return b""

    @trayray.method(max_buffered=3)
    async def marked(self, stream: Stream[int, str]) -> bool:
        return True


async def main() -> None:
    async with trayray.open_actor(Talker) as talker:
        async with trayray.open_stream(talker.words, "a", times=2) as stream:
            await stream.send(1)
            assert_type(await stream.receive(), str)
            async for word in stream:
                assert_type(word, str)
        assert_type(stream.result, float)
        async with trayray.open_stream(talker.plain) as plain:
            await plain.send(1)
            assert_type(await plain.receive(), str)
        assert_type(plain.result, bytes)
        async with trayray.open_stream(talker.marked) as marked:
            assert_type(await marked.receive(), str)
        assert_type(marked.result, bool)
        async with trayray.open_stream(talker.marked.options(max_buffered=1)) as limited:
            assert_type(await limited.receive(), str)
        async with trayray.open_stream(lengths) as counted:
            await counted.send("word")
            assert_type(await counted.receive(), int)
        assert_type(counted.result, bool)
