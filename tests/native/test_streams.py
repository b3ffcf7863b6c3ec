"""Streams where the core worker is a task of the caller's own loop, which nothing may block."""

import numpy as np
import trio

import trayray

MIB = 1024 * 1024


@trayray.remote(num_cpus=0)
class Talker:
    async def echo(self, stream: trayray.Stream[object, object]):
        count = 0
        async for item in stream:
            count += 1
            await stream.send(item)
        return count

    def make(self):
        return [trayray.put("theirs")]


async def _send_all(stream, items):
    for item in items:
        await stream.send(item)
    await stream.send_eof()


async def test_every_kind_of_item(fresh_ray):
    async with (
        trayray.open_cluster(num_cpus=1, object_store_memory=100 * MIB, log_to_driver=False),
        trayray.open_actor(Talker) as talker,
        trayray.open_actor(Talker) as maker,
    ):
        async with trayray.open_stream(talker.echo) as stream:
            array = np.ones(MIB)
            await stream.send(array)
            await stream.send([trayray.put(3)])
            await stream.send(await maker.make.remote())
            assert (await stream.receive() == array).all()
            assert [await ref for ref in await stream.receive()] == [3]
            assert [await ref for ref in await stream.receive()] == ["theirs"]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_all, stream, range(100))
                assert [item async for item in stream] == list(range(100))
        assert stream.result == 103
