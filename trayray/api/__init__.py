"""Ray's blocking surface over the core worker: init, remote functions, actor classes, put, get, wait.

Not here: the runtime (``worker``, ``node``), the command line (``cli``).
"""
