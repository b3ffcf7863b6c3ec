"""``python -m trayray`` is the ``trayray`` command."""

from trayray.cli.main import main

if __name__ == "__main__":
    main()
