"""`as_completed` in Trio programs."""

import pytest
import trio

import trayray


@trayray.remote(num_cpus=0)
class Gate:
    """Answers calls in the order in which they are let through."""

    def __init__(self):
        self.open = {}

    async def wait(self, name):
        await self.open.setdefault(name, trio.Event()).wait()
        if name == "bad":
            raise ValueError(name)
        return name

    async def let(self, name):
        self.open.setdefault(name, trio.Event()).set()


async def test_each_comes_when_it_is_there(ray):
    async with trayray.open_actor(Gate) as gate:
        refs = {name: gate.wait.remote(name) for name in ("a", "b", "bad", "c")}
        order = ["c", "bad", "a", "b"]
        await gate.let.remote(order[0])
        came = []
        async for ref in trayray.as_completed([*refs.values(), trayray.put("put")]):
            name = next((name for name, each in refs.items() if each is ref), "put")
            came.append(name)
            if name in order and name != order[-1]:
                await gate.let.remote(order[order.index(name) + 1])
            if name == "bad":
                with pytest.raises(ValueError, match="bad"):
                    await ref
            else:
                assert await ref == name
        assert [name for name in came if name != "put"] == order
        assert "put" in came


async def test_leaving_early_waits_for_nothing_more(ray):
    async with trayray.open_actor(Gate) as gate:
        never, ready = gate.wait.remote("never"), trayray.put(1)
        arrivals = trayray.as_completed([never, ready])
        assert await anext(arrivals) is ready
        await arrivals.aclose()
        assert never._waiters == []


async def test_only_references_are_taken(ray):
    with pytest.raises(TypeError, match="takes references"):
        async for _ in trayray.as_completed([1]):
            pass
    assert [ref async for ref in trayray.as_completed([])] == []
