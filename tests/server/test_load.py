"""Many clients, many requests, clients that break off: no answer but a good one or "come again", and nothing grows.

`pytest -m slow` runs them in full: 64 clients for a minute, 10,000 requests one after the other.
"""

from __future__ import annotations

import gc
import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clipseg.client import Client
from http_files import asked, connected, file_of, head

PHRASES = ("a cat", "wood", "jar AND NOT wood", "the dog", "a glass")
RESULTS = (["maps"], ["rle", "boxes"], ["scores"], ["polygons", "instances"], ["masks"])
MEGABYTE = 2**20


def resident() -> int:
    """-> bytes that this process, server and clients, has in memory."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def crowd(url: str, clients: int, seconds: float) -> Counter[int]:
    """Clients that ask whatever comes to mind, and break off now and then -> how often there was which status."""
    files = [file_of(seed) for seed in range(8)]
    until = time.monotonic() + seconds

    def one(number: int) -> Counter[int]:
        draw, statuses = random.Random(number), Counter[int]()
        while time.monotonic() < until:
            content = draw.choice(files)
            chance = draw.random()
            if chance < 0.1:
                with connected(url) as connection:  # gone before there is an answer
                    lines = head(url, "POST", "/v1/pictures", content_type="image/png", content_length=len(content))
                    connection.sendall(lines + content[: draw.randrange(len(content))])
                continue
            status, _, told = asked(url, "POST", "/v1/pictures", content, content_type="image/png")
            statuses[status] += 1
            if status != 200:
                continue
            body = {"picture": told["id"], "prompts": [draw.choice(PHRASES)], "results": draw.choice(RESULTS)}
            sent = json.dumps(body).encode()
            statuses[asked(url, "POST", "/v1/segment", sent, content_type="application/json")[0]] += 1
        return statuses

    with ThreadPoolExecutor(clients) as threads:
        return sum(threads.map(one, range(clients)), Counter())


def one_by_one(client: Client, requests: int) -> None:
    """Requests one after the other, on pictures and phrases that change."""
    pictures = [client.upload(file_of(seed)) for seed in range(8)]
    for number in range(requests):
        client.segment(pictures[number % 8], PHRASES[number % 5], results=RESULTS[number % 3])


def check_crowd(serving, clients: int, seconds: float) -> None:
    with serving(features_bytes=100_000, queue=32) as (service, client):
        crowd(client.url, clients, seconds / 6)
        before = resident()
        statuses = crowd(client.url, clients, seconds)
        assert set(statuses) <= {200, 429}
        assert statuses[200] > 0
        assert resident() - before < 48 * MEGABYTE
        until = time.monotonic() + 30
        while service.gate.inside and time.monotonic() < until:
            time.sleep(0.01)
        assert (service.gate.inside, service.engine.waiting) == (0, 0)
        assert service.engine.features.bytes <= 100_000


def test_a_few_clients(serving) -> None:
    check_crowd(serving, clients=8, seconds=1.5)


@pytest.mark.slow
def test_sixty_four_clients_for_a_minute(serving) -> None:
    check_crowd(serving, clients=64, seconds=60)


def check_growth(client: Client, requests: int) -> None:
    one_by_one(client, requests // 5)
    before, threads = resident(), threading.active_count()
    one_by_one(client, requests)
    assert resident() - before < 16 * MEGABYTE
    assert threading.active_count() <= threads + 2


def test_a_few_hundred_requests(serving) -> None:
    with serving() as (_, client):
        check_growth(client, 200)


@pytest.mark.slow
def test_ten_thousand_requests(serving) -> None:
    with serving() as (_, client):
        check_growth(client, 10_000)
