"""What travels between processes: message structs, frames, payload layout, control-plane messages.

Not here: sockets and streams (``trayray.link``), and what processes do with messages (``node``, ``worker``).
"""
