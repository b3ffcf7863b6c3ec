"""Ray's ``ray.actor``: actor classes, handles, and leaving an actor from within."""

from typing import TYPE_CHECKING

from trayray.api.actor_class import exit_actor as exit_actor
from trayray.api.decorators import method as method

if TYPE_CHECKING:
    from trayray.api.shapes.actors import ActorClass as ActorClass
    from trayray.api.shapes.actors import ActorHandle as ActorHandle
    from trayray.api.shapes.actors import ActorMethod as ActorMethod
    from trayray.api.shapes.actors import ActorProxy as ActorProxy
else:
    from trayray.api.actor_class import ActorClass, ActorHandle, ActorMethod

    ActorProxy = ActorHandle  #: Ray's name for a handle whose class is known

__all__ = ("ActorClass", "ActorHandle", "ActorMethod", "ActorProxy", "exit_actor", "method")
