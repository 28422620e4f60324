"""A process that makes parts, told by lines of JSON on its standard input and telling on its standard output.

    in    {"task": …}                       first, and once
          {"part": 3}                       then, as often as there are parts
    out   {"ready": true}
          {"moved": 1, "errors": 1, "reason": "…"}      after each picture; null where it did not fail
          {"made": [3, 512, 0, 60.5, 81920]}
          {"failed": "OutputError", "message": "…"}

It ends where its input does: with the process that started it, however that ended.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import IO, Any

from clipseg.errors import ClipsegError


def main() -> None:
    """Work until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # of a terminal or a scheduler: whoever started it says when to end
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as told:
        os.dup2(2, 1)  # whatever is printed meanwhile is none of what is told
        _work(sys.stdin, told)


def _work(source: IO[str], told: IO[str]) -> None:
    coming: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    ended = threading.Event()

    def listen() -> None:
        for line in source:
            coming.put(json.loads(line))
        ended.set()
        coming.put(None)

    def tell(**message: Any) -> None:
        told.write(json.dumps(message) + "\n")

    threading.Thread(target=listen, name="clipseg-listen", daemon=True).start()
    first = coming.get()
    if first is None:
        return
    try:
        import torch

        from clipseg.batch.parts import PartMaker, Task
        from clipseg.behind import StoppedError

        if first["threads"]:
            torch.set_num_threads(first["threads"])  # of this process, which is there for nothing else
        maker = PartMaker(Task.from_json(first["task"]))
        tell(ready=True)
        while (message := coming.get()) is not None:
            try:
                report = maker(
                    message["part"],
                    stopped=ended.is_set,
                    moved=lambda reason: tell(moved=1, errors=int(reason is not None), reason=reason),
                )
            except StoppedError:
                return
            tell(made=report)
    except BrokenPipeError:
        return  # nobody listens any more
    except ClipsegError as error:
        tell(failed=type(error).__name__, message=str(error))


if __name__ == "__main__":
    main()
