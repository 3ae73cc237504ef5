"""What Ray raises, sorted: what the infrastructure lost, and what our own code did.

Ray wraps both alike, so the cause decides: a lost argument arrives as an error of the task that was to read it.
"""

import copy
from typing import Any

import ray
from ray import exceptions as errors

from bitexact.cluster.interface import ActorLost, Lost, ResultLost, SharedLost

_GET_TIMEOUT_S = 30.0

_OBJECT_GONE = (errors.ObjectLostError, errors.ObjectFetchTimedOutError, errors.OwnerDiedError)

# Which errors are the infrastructure's, by what they take away. Whatever is not named here was raised by our own code:
# it is a bug, ends the run, and is never tried again.
RAISED_BY_RAY: dict[type[Lost], tuple[type[BaseException], ...]] = {
    ActorLost: (
        errors.RayActorError,  # died, or cannot be reached
        errors.WorkerCrashedError,
        errors.NodeDiedError,
        errors.OutOfMemoryError,  # killed by its node's memory monitor
        errors.RuntimeEnvSetupError,
        errors.ActorUnschedulableError,
        errors.ActorPlacementGroupRemoved,
    ),
    ResultLost: (*_OBJECT_GONE, errors.GetTimeoutError, errors.RaySystemError),
}
# The same for what a task raises inside its actor: Ray hands it over as the cause of a RayTaskError.
RAISED_IN_A_TASK: dict[type[Lost], tuple[type[BaseException], ...]] = {
    SharedLost: _OBJECT_GONE,  # the task's argument
    ActorLost: (MemoryError,),  # the process is of no use any more, or its node is too full
    ResultLost: (errors.RayError,),
}


def fetch(reference: Any) -> Any:
    """A copy of a value that is ready, or of a list. Raises a kind of Lost, or what our own code raised in the actor.

    What Ray gives lies in the object store. Whoever lets go of it while another thread's call hangs in a frozen raylet
    waits for that call, and keeps every other thread from running: the whole process stands still.
    """
    try:
        return copy.deepcopy(ray.get(reference, timeout=_GET_TIMEOUT_S))
    except errors.RayTaskError as error:
        if loss := _loss(error.cause, RAISED_IN_A_TASK):
            raise loss from error.cause
        raise (error.cause or error) from error
    except errors.RayError as error:
        if loss := _loss(error, RAISED_BY_RAY):
            raise loss from error
        raise


def _loss(error: BaseException, table: dict[type[Lost], tuple[type[BaseException], ...]]) -> Lost | None:
    if isinstance(error, Lost):  # said so by our own code
        return error
    return next((loss(kind(error)) for loss, kinds in table.items() if isinstance(error, kinds)), None)


def raised_while_starting(error: BaseException | None) -> str:
    """What an actor's constructor raised, from the traceback that Ray makes its message of; empty for other deaths."""
    text = str(error or "")
    return _last_line(text) if "in its creation task" in text else ""


def in_one_line(error: BaseException) -> str:
    """An error's kind and the end of its message."""
    return f"{kind(error)}: {_last_line(str(error))}"


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


def kind(error: BaseException) -> str:
    """What people know an error by."""
    return type(error).__name__
