"""The node process: raylet, object store, worker processes and (on the head) the control plane, in one nursery tree.

Start with ``run``. Not here: decisions (``core``), what drivers and workers do (``worker``).
"""
