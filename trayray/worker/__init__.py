"""The core worker: what makes a process (driver or worker) part of a cluster, and how workers execute tasks.

Start with ``core_worker`` (the nursery page), then ``references``, ``tasks`` and ``execution``. Not here: the user's
API (``trayray.api``) and the node (``trayray.node``).
"""
