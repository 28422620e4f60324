"""Working behind the model, or beside it: threads finish masks while it goes on, or each take pictures through it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Semaphore
from typing import TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """Work behind the model was to stop in the middle of a picture."""


def lone_threads(count: int, name: str) -> ThreadPoolExecutor:
    """-> a pool of so many threads, in each of which torch computes on that thread alone.

    Otherwise each would keep threads of its own beside the model's; and OpenMP, seeing more of them than processors,
    lets all of them sleep between any two steps, so that the model takes half as long again. How many threads torch
    has elsewhere stays as it is.
    """
    import torch  # not before it is needed: a command line is to answer at once

    pool = ThreadPoolExecutor(count, name)
    everywhere = torch.get_num_threads()
    begun, go_on = Semaphore(0), Event()

    def alone() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread takes the number set for all when it first asks, and keeps it
        begun.release()
        go_on.wait()  # so that each thread of the pool comes by here

    waiting = [pool.submit(alone) for _ in range(count)]
    for _ in waiting:
        begun.acquire()
    torch.set_num_threads(everywhere)  # for threads that are yet to come
    go_on.set()
    return pool


def following(
    calls: Iterable[Callable[[Callable[[], bool]], T]], most: int, threads: int = 1
) -> Generator[T, None, None]:
    """Calls, as they come -> what each gives, in order: they run one by one in a thread, while others are coming.

    Several `threads` run as many at once. `most` of them wait or run, at most; with 0 there is no thread. A call is
    handed a function that tells whether it should stop: nobody waits for what it gives any more. After one that raises
    none is begun, and what comes to nothing in `calls` itself is raised after what came before it is done.
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
    pool = lone_threads(threads, "clipseg-behind")
    try:
        while failure is None:
            try:
                waiting.append(pool.submit(run, next(calls)))
            except Exception as error:
                failure = error
            while waiting and (failure is not None or len(waiting) > most or waiting[0].done()):
                yield waiting.popleft().result()
        if not isinstance(failure, StopIteration):
            raise failure
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)  # waits for the file that is being written
