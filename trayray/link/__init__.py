"""Long-lived two-way message channels between processes: one interface, several carriers.

Read ``port`` first. Not here: what messages mean.
"""
