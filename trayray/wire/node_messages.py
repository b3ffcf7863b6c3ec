"""All messages between a driver or worker and its node."""

from trayray.wire.actor_messages import (
    ActorEnded,
    ActorStarted,
    ActorState,
    ActorUnreachable,
    AwaitRemains,
    EndActor,
    KillActor,
    RemainsEnded,
    ResumeActor,
    StartActor,
    SupervisionTold,
    WatchActor,
)
from trayray.wire.greetings import Welcome
from trayray.wire.lease_messages import (
    Contended,
    CreateGroup,
    DefineClass,
    Demand,
    Grant,
    GroupNews,
    KillLeased,
    LeaseLost,
    Lend,
    Refused,
    RemoveGroup,
    Resume,
    Resumed,
    ReturnLease,
    WatchGroup,
)
from trayray.wire.process_messages import (
    AskCleanup,
    AssignJob,
    CleanupDue,
    Exit,
    Exiting,
    FinishJob,
    JobEnding,
    JobFinished,
    KillSender,
    LogLines,
    Notice,
    PeerGone,
    Retained,
    Retire,
)
from trayray.wire.report_messages import AskNode, AskReferences, MetricReport, NodeTold, ReferencesTold, TaskEvents
from trayray.wire.store_messages import Create, Created, Fence, Free, LeftSegments, Locate, Located, Pin, Seal

NodeMessage = (
    Welcome
    | AskNode
    | NodeTold
    | AskReferences
    | ReferencesTold
    | Notice
    | DefineClass
    | Demand
    | Grant
    | ReturnLease
    | LeaseLost
    | Contended
    | Lend
    | Resume
    | Resumed
    | Create
    | Created
    | Locate
    | Located
    | Seal
    | Free
    | Pin
    | LeftSegments
    | Fence
    | StartActor
    | ActorStarted
    | ActorState
    | WatchActor
    | ActorUnreachable
    | Exiting
    | Exit
    | LogLines
    | TaskEvents
    | MetricReport
    | FinishJob
    | JobFinished
    | AssignJob
    | PeerGone
    | Retire
    | Retained
    | Refused
    | WatchGroup
    | GroupNews
    | CreateGroup
    | RemoveGroup
    | AskCleanup
    | CleanupDue
    | JobEnding
    | KillLeased
    | KillActor
    | KillSender
    | EndActor
    | ResumeActor
    | SupervisionTold
    | ActorEnded
    | AwaitRemains
    | RemainsEnded
)
