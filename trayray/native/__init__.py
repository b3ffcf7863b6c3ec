"""The Trio-native face: clusters, calls, actors and streams as scopes. Nothing that a block has started outlives it.

The same core worker as under ``init``, here as a task of the caller's own Trio loop. Not here: the synchronous face
(``api``), what happens in workers (``worker.child_scopes``, ``worker.closing_calls``).
"""
