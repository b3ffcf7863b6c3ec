"""Ray's ``ray.actor``: actor classes, handles, and leaving an actor from within."""

from trayray.api.actor_class import ActorClass as ActorClass
from trayray.api.actor_class import ActorHandle as ActorHandle
from trayray.api.actor_class import ActorMethod as ActorMethod
from trayray.api.actor_class import exit_actor as exit_actor
from trayray.api.decorators import method as method

__all__ = ("ActorClass", "ActorHandle", "ActorMethod", "exit_actor", "method")
