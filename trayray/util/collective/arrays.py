"""What collective calls do with numpy arrays: checking, cutting, reducing. numpy is imported at the first call.

Not here: how arrays travel (``group``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from trayray.util.collective.types import ReduceOp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]

_UFUNCS = {ReduceOp.SUM: "add", ReduceOp.PRODUCT: "multiply", ReduceOp.MIN: "minimum", ReduceOp.MAX: "maximum"}


def array_of(value: Any, what: str, *, written: bool) -> Array:
    """``value`` as an array that shares its memory.

    Args:
        what: its name, for errors.
        written: the call writes its result into it.

    Raises:
        TypeError: not a numpy array, or one of Python objects.
        ValueError: read-only, though it is written.
    """
    import numpy as np

    if not isinstance(value, np.ndarray):
        raise TypeError(f"{what} must be a numpy array, not {type(value).__qualname__}")
    array = cast("Array", value)
    if array.dtype.hasobject:
        raise TypeError(f"{what} holds Python objects (dtype {array.dtype}); collective calls move numbers")
    if written and not array.flags.writeable:
        raise ValueError(f"{what} is read-only and the result is written into it; pass a copy: array.copy()")
    return array


def arrays_of(values: Any, what: str, count: int, like: Array, *, written: bool) -> list[Array]:
    """A list of ``count`` arrays of the shape and type of ``like``.

    Raises:
        TypeError, ValueError: it is not; the text says what is wrong.
    """
    if not isinstance(values, list):
        raise TypeError(f"{what} must be a list of arrays, one for each rank, not {type(values).__qualname__}")
    listed = cast("list[Any]", values)
    if len(listed) != count:
        raise ValueError(f"{what} has {len(listed)} arrays; the group has {count} ranks")
    found = [array_of(value, f"{what}[{index}]", written=written) for index, value in enumerate(listed)]
    for index, array in enumerate(found):
        if (array.shape, array.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"{what}[{index}] is {described(array)} and the tensor is {described(like)}; they must be alike"
            )
    return found


def check_reducible(array: Array) -> None:
    """Raise TypeError unless the elements are numbers or booleans."""
    if array.dtype.kind not in "biufc":
        raise TypeError(f"arrays of dtype {array.dtype} cannot be reduced; use numbers or booleans")


def described(array: Array) -> str:
    """Like ``float32 (3, 4)``."""
    return f"{array.dtype.newbyteorder('=')} {array.shape}"


def flat(array: Array) -> Array:
    """The elements in a row: a view where that is possible, else a copy."""
    import numpy as np

    return np.ascontiguousarray(array).reshape(-1)


def write_back(array: Array, elements: Array) -> None:
    """Write what `flat` gave, changed since, into ``array``."""
    import numpy as np

    if not np.shares_memory(array, elements):
        np.copyto(array, elements.reshape(array.shape))


def pieces(elements: Array, limit: int) -> list[Array]:
    """Views of successive elements, of at most ``limit`` bytes each (one element at least)."""
    step = max(1, limit // max(1, elements.itemsize))
    return [elements[start : start + step] for start in range(0, len(elements), step)]


def parts(elements: Array, count: int) -> list[Array]:
    """``count`` views of successive elements, as equal as possible."""
    import numpy as np

    return np.array_split(elements, count)


def reduced(contributions: Sequence[Array], op: ReduceOp) -> Array:
    """A new array: all contributions combined, from the first to the last, in their own type."""
    import numpy as np

    ufunc: np.ufunc = getattr(np, _UFUNCS[op])
    first, *others = contributions
    result = first.copy()
    for other in others:
        ufunc(result, other, out=result)
    return result
