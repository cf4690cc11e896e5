"""Whether two responses are the same: by equality, by a function of the user's, or by a judge who sees the query too.

Rule 1: responses of `cache.llm` are compared as the caller knows them; by equality without what every answer has anew
        (`scoutcache.chat.sameness`).
Rule 2: a function runs where it holds up no event loop: an asynchronous cache calls it in a thread.  One that is a
        coroutine function is awaited on the loop of the call.
Rule 3: who can't judge says nothing: what a function raises is reported as trouble, and nothing is learned of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scoutcache import events
from scoutcache.drive.blocking import running_loop
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.errors import CacheError

if TYPE_CHECKING:
    from scoutcache.answers.answering import Answering

__all__ = ["alike"]


def alike(answering: Answering, query: str, one: Any, other: Any) -> Flow[bool | None]:
    """Would *one* have been as right for *query* as *other*, its own answer?  None where nobody could say."""
    state = answering.state
    served, computed = _told(one), _told(other)
    judge, same = state.judge, state.same
    if judge is not None:
        ask: Callable[[], Any] = lambda: judge(query, served, computed)  # noqa: E731 - one of two
    elif same is not None:
        ask = lambda: same(served, computed)  # noqa: E731 - the other
    else:
        return bool(_lasting(one, served) == _lasting(other, computed))
    loop = answering.core.world.loop()
    try:
        found = yield from perform(Work(lambda: _awaited(ask(), loop)))
    except CacheError:
        raise
    except Exception as error:  # noqa: BLE001  # the user's function, or the model that it asks
        name = "judge" if judge is not None else "same"
        answering.core.hooks.emit(events.Trouble("semantic", f"{name}(…) raised {error!r:.300}"))
        return None
    if not isinstance(found, bool):
        raise CacheError(f"{'judge' if judge is not None else 'same'}(…) gives True or False, not {found!r:.40}")
    return found


def _awaited(found: Any, loop: object | None) -> Any:
    """*found*, awaited on *loop* if it must be; the caller is a thread of its own."""
    if not inspect.isawaitable(found):
        return found
    import asyncio

    if not isinstance(loop, asyncio.AbstractEventLoop) or running_loop() is not None:
        if inspect.iscoroutine(found):
            found.close()
        raise CacheError("the function that compares responses is a coroutine function, and this cache is blocking",
                         hint="use AsyncCache")  # fmt: skip

    async def wait() -> Any:
        return await found

    return asyncio.run_coroutine_threadsafe(wait(), loop).result()


def _is_of_llm(stored: Any) -> bool:
    return isinstance(stored, dict) and "llm" in stored and isinstance(stored.get("meta"), dict)


def _told(stored: Any) -> Any:
    """A response as who asked gets it."""
    if not _is_of_llm(stored):
        return stored
    from scoutcache.chat.stored import opened
    from scoutcache.entry import MISSING

    found = opened(stored)
    return stored if found is MISSING else found


def _lasting(stored: Any, told: Any) -> Any:
    """What of a response stays the same when it is made again."""
    if not _is_of_llm(stored):
        return told
    from scoutcache.chat.sameness import lasting, lasting_of_chunks
    from scoutcache.chat.stored import Chunks

    return lasting_of_chunks(told) if isinstance(told, Chunks) else lasting(told)
