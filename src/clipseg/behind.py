"""Working behind: what is left to do with each result is done in a thread, while the next result is being made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """Writing was to stop in the middle of a picture."""


def following(calls: Iterable[Callable[[Callable[[], bool]], T]], most: int) -> Generator[T, None, None]:
    """Calls, as they come -> what each gives, in order: they run one by one in a thread, while others are coming.

    `most` of them wait, at most; with 0 there is no thread. A call is handed a function that tells whether it should
    stop: nobody waits for what it gives any more. After one that raises none is begun, and what comes to nothing in
    `calls` itself is raised after what came before it is done.
    """
    if most < 1:
        yield from (call(lambda: False) for call in calls)
        return
    stopped = Event()

    def run(call: Callable[[Callable[[], bool]], T]) -> T:
        if stopped.is_set():
            raise StoppedError
        try:
            return call(stopped.is_set)
        except BaseException:
            stopped.set()
            raise

    waiting: deque[Future[T]] = deque()
    failure, calls = None, iter(calls)
    thread = ThreadPoolExecutor(1, "clipseg-behind")
    try:
        while failure is None:
            try:
                waiting.append(thread.submit(run, next(calls)))
            except Exception as error:
                failure = error
            while waiting and (failure is not None or len(waiting) > most or waiting[0].done()):
                yield waiting.popleft().result()
        if not isinstance(failure, StopIteration):
            raise failure
    finally:
        stopped.set()
        thread.shutdown(cancel_futures=True)  # waits for the file that is being written
