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
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from clipseg.benchmark.materials import photograph, write_random_model
from clipseg.client import Client, Picture

QUESTION = {"results": ["maps"]}


def file_of(seed: int) -> bytes:
    """-> a JPEG of half a megapixel."""
    file = io.BytesIO()
    photograph((600, 800), seed).save(file, "JPEG", quality=90)
    return file.getvalue()


def first_and_second(client: Client, repeats: int) -> tuple[float, float]:
    """-> milliseconds of a first and of a second question about a picture, both with a new phrase."""
    firsts, seconds = [], []
    for number in range(repeats):
        picture = client.upload(file_of(100 + number))
        for times, phrase in ((firsts, "thing"), (seconds, "other")):
            begun = time.perf_counter()
            client.segment(picture, f"{phrase} {number}", **QUESTION)
            times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(firsts), statistics.median(seconds)


def throughput(url: str, picture: Picture, clients: int, seconds: float, known: bool) -> float:
    """-> answers a second, of so many clients; `known`: their phrases were embedded before."""
    until = time.perf_counter() + seconds

    def ask(number: int) -> int:
        count = 0
        with Client(url) as client:
            while time.perf_counter() < until:
                phrase = f"phrase {number}" if known else f"phrase {clients} {number} {count} {time.time_ns()}"
                client.segment(picture, phrase, **QUESTION)
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
            client.segment(file_of(1), "warm", **QUESTION)
            first, second = first_and_second(client, arguments.repeats)
            picture = client.upload(file_of(2))
            client.segment(picture, [f"phrase {number}" for number in range(arguments.clients)], **QUESTION)
        result = {"model": "random" if arguments.random else arguments.model, "first_ms": first, "second_ms": second}
        result["first_by_second"] = first / second
        for known in (True, False):
            alone, together = (
                throughput(url, picture, clients, arguments.seconds, known) for clients in (1, arguments.clients)
            )
            kind = "known" if known else "new"
            result |= {
                f"{kind}_phrases_alone_per_s": alone,
                f"{kind}_phrases_together_per_s": together,
                f"{kind}_phrases_gain": together / alone,
            }
    print(json.dumps({name: round(value, 2) if isinstance(value, float) else value for name, value in result.items()}))


if __name__ == "__main__":
    main()
