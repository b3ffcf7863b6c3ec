"""``multiprocessing.Pool`` on the processes of a cluster: change the import, keep the program.

The names of ``pool`` and ``results``; ``TimeoutError`` and ``JoinableQueue`` are the standard library's own. Not here:
the rest of ``multiprocessing``.
"""

from multiprocessing import JoinableQueue as JoinableQueue
from multiprocessing import TimeoutError as TimeoutError  # noqa: A004 -- its name in multiprocessing

from trayray.util.multiprocessing.pool import Pool as Pool
from trayray.util.multiprocessing.results import AsyncResult as AsyncResult
from trayray.util.multiprocessing.results import IMapIterator as IMapIterator
from trayray.util.multiprocessing.results import OrderedIMapIterator as OrderedIMapIterator
from trayray.util.multiprocessing.results import UnorderedIMapIterator as UnorderedIMapIterator

__all__ = (
    "AsyncResult",
    "IMapIterator",
    "JoinableQueue",
    "OrderedIMapIterator",
    "Pool",
    "TimeoutError",
    "UnorderedIMapIterator",
)
