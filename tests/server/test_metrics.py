"""Metrics, in the text that Prometheus reads."""

from __future__ import annotations

import re

from clipseg.client import Client
from clipseg.server.metrics import Counter, Histogram, Metrics
from http_files import asked, file_of

LINE = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+')


def test_counting() -> None:
    counter = Counter("a_total", "A.", ("kind",))
    counter.add(2, 'x"\n\\')
    assert list(counter.lines()) == ['a_total{kind="x\\"\\n\\\\"} 2']
    histogram = Histogram("b", "B.", (1, 2))
    for figure in (0.5, 1, 1.5, 9):
        histogram.add(figure)
    assert list(histogram.lines()) == [
        'b_bucket{le="1"} 2', 'b_bucket{le="2"} 3', 'b_bucket{le="+Inf"} 4', "b_sum 12", "b_count 4",
    ]  # fmt: skip


def test_large_numbers_keep_their_digits() -> None:
    """Prometheus takes differences of them."""
    counter = Counter("a_total", "A.")
    counter.add(1_234_567)
    assert list(counter.lines()) == ["a_total 1234567"]
    histogram = Histogram("b", "B.", (1,))
    histogram.add(1_234_567.25)
    assert "b_sum 1234567.25" in histogram.lines()


def test_every_line_can_be_read() -> None:
    metrics = Metrics()
    metrics.gauge("g", "G.", lambda: 2**40)
    lines = metrics.text().splitlines()
    assert "g 1099511627776" in lines
    assert all(line.startswith(("# HELP ", "# TYPE ")) or LINE.fullmatch(line) for line in lines)


def test_what_the_server_counts(client: Client, url: str) -> None:
    client.segment(file_of(40), "a cat")
    asked(url, "GET", "/made/up/by/a/client")
    status, headers, text = asked(url, "GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    lines = text.decode().splitlines()
    assert any(line.startswith('clipseg_requests_total{route="/v1/segment",status="200"}') for line in lines)
    assert any(line.startswith('clipseg_requests_total{route="other",status="404"}') for line in lines)
    assert "made" not in text.decode()
    assert "clipseg_model_ready 1" in lines
    assert "clipseg_questions_waiting 0" in lines
