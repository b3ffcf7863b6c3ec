"""What type checkers see of the decorators and of what they make; ``decorators`` uses it under ``TYPE_CHECKING``.

The classes at run time take and return anything (``remote_function``, ``actor_class``). These are their shapes: they
keep the parameters and results of the user's own functions through ``.remote``. Public modules name the shapes to
checkers and the classes to programs. The bodies never run.

    options       keywords of the decorators and of ``.options``
    calls         remote functions, and whatever has a ``.remote`` that takes arguments
    actors        actor classes, handles and methods
    decorating    what a decorator with options returns

Not here: bound methods that are not decorated, which need mypy's plugin (``trayray.mypy``) or pyright's stub
(``trayray typings``).
"""
