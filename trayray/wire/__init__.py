"""What travels between processes: message structs, frames, payload layout, generated control-plane messages.

Not here: sockets and streams (``trayray.link``), and what a process does with a message (``node``, ``gcs``, ``worker``).
"""
