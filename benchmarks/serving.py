"""How fast the server is: a first and a second question about a picture, and many clients against one.

    python benchmarks/serving.py                       # the bundled model
    python benchmarks/serving.py --model FOLDER        # another
    python benchmarks/serving.py --random              # random weights of the released size: as fast as any

The server runs in a process of its own, and so do the clients, who ask for the boxes of a prompt each on one picture.
Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from performance_cases import words as real_words

from clipseg.benchmark.materials import photograph, write_random_model
from clipseg.client import Client, Picture

QUESTION = {"results": ["boxes"]}


def file_of(seed: int) -> bytes:
    """-> a JPEG of half a megapixel."""
    file = io.BytesIO()
    photograph((600, 800), seed).save(file, "JPEG", quality=90)
    return file.getvalue()


def questions(client: Client, repeats: int, phrases: Iterator[str]) -> dict[str, float]:
    """-> milliseconds of a first question about a picture, of one with another new phrase, and of one asked before."""
    times: dict[str, list[float]] = {"first": [], "new": [], "known": []}
    for number in range(repeats):
        picture = client.upload(file_of(100 + number))
        for name, phrase in (("first", next(phrases)), ("new", next(phrases)), ("known", "a warm thing")):
            begun = time.perf_counter()
            client.segment(picture, phrase, **QUESTION)
            times[name].append(1000 * (time.perf_counter() - begun))
    return {name: statistics.median(taken) for name, taken in times.items()}


def new_phrases() -> Iterator[str]:
    """-> phrases of two words, each of which is one token, in an order of its own; none comes twice."""
    words = real_words()
    random.shuffle(words)
    pairs = (f"a {one} {other}" for one in words for other in words)
    lock = threading.Lock()

    class Shared:
        def __iter__(self) -> Iterator[str]:
            return self

        def __next__(self) -> str:
            with lock:
                return next(pairs)

    return Shared()


def known_phrase(number: int) -> str:
    """-> the phrase that a client asks again and again."""
    return f"a thing of kind {number}"


def throughput(url: str, picture: Picture, clients: int, seconds: float, phrases: Iterator[str] | None) -> float:
    """-> answers a second, of so many clients; without `phrases`, which are new, each asks its own again and again."""
    until = time.perf_counter() + seconds

    def ask(number: int) -> int:
        count = 0
        with Client(url) as client:
            while time.perf_counter() < until:
                client.segment(picture, known_phrase(number) if phrases is None else next(phrases), **QUESTION)
                count += 1
        return count

    with ThreadPoolExecutor(clients) as threads:
        return sum(threads.map(ask, range(clients))) / seconds


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        model = str(write_random_model(Path(folder))) if arguments.random else arguments.model
        command = [sys.executable, "-m", "clipseg", "serve", "--port", "0", "--model", model, "--offline"]
        environment = {**os.environ, "CLIPSEG_PROMPT_CACHE": "off"}  # new phrases are to be new
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        stack.callback(server.wait)
        stack.callback(server.terminate)
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["address"]
        with Client(url) as client:
            client.wait(600)
            phrases = new_phrases()
            client.segment(file_of(1), "a warm thing", **QUESTION)
            times = questions(client, arguments.repeats, phrases)
            picture = client.upload(file_of(2))
            client.segment(picture, [known_phrase(number) for number in range(arguments.clients)], **QUESTION)
        result: dict[str, str | float] = {"model": "random" if arguments.random else arguments.model}
        result |= {f"{name}_ms": taken for name, taken in times.items()}
        result |= {f"first_by_{name}": times["first"] / times[name] for name in ("new", "known")}
        for kind, asked in (("known", None), ("new", phrases)):
            alone, together = (
                throughput(url, picture, clients, arguments.seconds, asked) for clients in (1, arguments.clients)
            )
            result |= {
                f"{kind}_phrases_alone_per_s": alone,
                f"{kind}_phrases_together_per_s": together,
                f"{kind}_phrases_gain": together / alone,
            }
    print(json.dumps({name: round(value, 2) if isinstance(value, float) else value for name, value in result.items()}))


if __name__ == "__main__":
    main()
