"""The cluster's control plane: actors and their names, nodes, jobs, the timeline.

It runs in the head's node process. Not here: leases and processes (``node``).
"""
