"""Ray's ``ray.util.collective``: calls that the processes of a group make together, on numpy arrays in CPU memory."""

from trayray.util.collective.collective import allgather as allgather
from trayray.util.collective.collective import allreduce as allreduce
from trayray.util.collective.collective import barrier as barrier
from trayray.util.collective.collective import broadcast as broadcast
from trayray.util.collective.collective import create_collective_group as create_collective_group
from trayray.util.collective.collective import destroy_collective_group as destroy_collective_group
from trayray.util.collective.collective import get_collective_group_size as get_collective_group_size
from trayray.util.collective.collective import get_rank as get_rank
from trayray.util.collective.collective import gloo_available as gloo_available
from trayray.util.collective.collective import init_collective_group as init_collective_group
from trayray.util.collective.collective import is_group_initialized as is_group_initialized
from trayray.util.collective.collective import nccl_available as nccl_available
from trayray.util.collective.collective import recv as recv
from trayray.util.collective.collective import reduce as reduce
from trayray.util.collective.collective import reducescatter as reducescatter
from trayray.util.collective.collective import send as send
from trayray.util.collective.types import Backend as Backend
from trayray.util.collective.types import CollectiveError as CollectiveError
from trayray.util.collective.types import CollectiveTimeoutError as CollectiveTimeoutError
from trayray.util.collective.types import ReduceOp as ReduceOp

__all__ = (
    "Backend",
    "CollectiveError",
    "CollectiveTimeoutError",
    "ReduceOp",
    "allgather",
    "allreduce",
    "barrier",
    "broadcast",
    "create_collective_group",
    "destroy_collective_group",
    "get_collective_group_size",
    "get_rank",
    "gloo_available",
    "init_collective_group",
    "is_group_initialized",
    "nccl_available",
    "recv",
    "reduce",
    "reducescatter",
    "send",
)
