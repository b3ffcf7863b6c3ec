"""What a node's store has written to disk and read back since it started.

Not here: doing it (``node.store``), showing it (``cli.memory_layout``).
"""

import attrs


@attrs.define
class SpillStatistics:
    """Sums since the node's start; bytes are those of the objects, seconds those that a thread spent on disk."""

    spilled_bytes: int = 0
    spilled_objects: int = 0
    write_seconds: float = 0.0
    restored_bytes: int = 0
    restored_objects: int = 0
    read_seconds: float = 0.0
