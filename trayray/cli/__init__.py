"""The ``trayray`` command. Modules here import only click at first, so that ``trayray --help`` is quick."""
