"""The callable that every engine runs: a row for each item, in order, whatever becomes of it."""

from __future__ import annotations

import threading

import pytest
import torch

from clipseg.batch import parts, rows
from clipseg.batch.engine import DEFAULT_LOADING
from clipseg.batch.items import Item, fetched
from clipseg.batch.jobs import job_of
from clipseg.batch.parts import PartMaker, Task
from clipseg.batch.rows import SegmentRows
from clipseg.behind import StoppedError
from clipseg.errors import ClipsegError, PictureError
from clipseg.runtime.compiled import CompiledModel
from clipseg.runtime.fused import FusedModel, lanes
from clipseg.segmenter import Segmenter
from small_batches import small_run


@pytest.fixture(autouse=True, params=[1, 3], ids=["in turn", "in lanes"])
def processors(request):
    """Everything here holds on one processor, and where three lanes make rows side by side."""
    everywhere = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(everywhere)


@pytest.fixture(scope="module")
def segment(model):
    job = job_of("/in", ["a cat", "wood"], model=model, batch_size=4)
    return SegmentRows(Segmenter.from_pretrained(model), job.config, job.prompts)


@pytest.fixture(scope="module")
def items(collection):
    return [Item(path.name, str(path)) for path in sorted(collection.glob("*.png"))[:9]]


def without_times(table):
    return table.drop_columns(["ms"])


def test_lanes_make_the_rows_that_one_makes(segment, items, processors):
    mixed = [*items, nowhere("a"), *(item._replace(prompts=["a jar"]) for item in items), nowhere("b"), *items]
    told = segment(mixed)
    torch.set_num_threads(1)
    assert without_times(told).equals(without_times(segment(mixed)))


@pytest.mark.parametrize("threads", [1, 4])
def test_who_has_lanes(model, threads):
    torch.set_num_threads(threads)
    net = Segmenter.from_pretrained(model).model
    assert lanes(FusedModel(net)) == lanes(FusedModel(net, "bfloat16")) == threads
    compiled = CompiledModel(net, "eager")
    eight = FusedModel(net)
    eight.precision = "int8"  # as it is where the processor has it
    assert [lanes(other) for other in (net, compiled, eight, FusedModel(net.to("meta")))] == [1, 1, 1, 1]


@pytest.mark.parametrize(("count", "most"), [(1, 4), (7, 4), (64, 4), (64, 1), (1000, 3)])
def test_shares_are_all_items_in_order_and_end_small(count, most):
    shares = list(rows._shares(list(range(count)), 3, most))
    assert [one for share in shares for one in share] == list(range(count))
    sizes = [len(share) for share in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) <= most
    assert sizes[-min(count, 3) :] == [1] * min(count, 3)


def test_lanes_work_at_the_same_time(segment, items, processors, monkeypatch):
    there, row_of = threading.Barrier(processors), rows.row_of

    def meet(*told, **options):
        there.wait(20)  # raises where another never comes
        return row_of(*told, **options)

    monkeypatch.setattr(rows, "row_of", meet)
    assert segment(items[:6]).num_rows == 6


def nowhere(name: str) -> Item:
    return Item(name, f"/nowhere/{name}")


def test_failures_come_in_their_turn(segment, items):
    mixed = [nowhere("a"), items[0], nowhere("b"), nowhere("c"), *items[1:6], nowhere("d"), items[6], nowhere("e")]
    found = segment(mixed).to_pylist()
    assert [row["id"] for row in found] == [item.id for item in mixed]
    assert [row["status"] for row in found] == ["error" if "nowhere" in item.uri else "ok" for item in mixed]
    whole = {row["id"]: row["area"] for row in segment(items).to_pylist()}
    assert {row["id"]: row["area"] for row in found if row["status"] == "ok"} == {
        one.id: whole[one.id] for one in items[:7]
    }
    assert all(row["ms"] >= 0 for row in found)


def test_nothing_but_failures_and_nothing_at_all(segment):
    assert segment([nowhere("a"), nowhere("b")]).column("status").to_pylist() == ["error"] * 2
    assert segment([]).num_rows == 0


def test_items_that_ask_something_of_their_own_are_asked_that_alone(segment, items):
    own = [
        item._replace(prompts=asked)
        for item, asked in zip(items, [None, ["a jar"], ["a jar"], ["a jar", "wood"], None], strict=False)
    ]
    found = segment(own).to_pylist()
    asked = [row["prompt"] for row in found]
    assert asked == [["a cat", "wood"], ["a jar"], ["a jar"], ["a jar", "wood"], ["a cat", "wood"]]
    assert found[3]["prompt_id"] == [found[1]["prompt_id"][0], found[0]["prompt_id"][1]]
    assert found[3]["area"][1] == segment([items[3]]).column("area")[0].as_py()[1]


def test_many_questions_of_their_own_are_not_all_remembered(segment, items, monkeypatch):
    monkeypatch.setattr(rows, "_REMEMBERED", 2)
    segment([items[0]._replace(prompts=[text]) for text in ("a jar", "a glass", "wood", "a cat")])
    assert len(segment._own) <= 2


def test_what_cannot_be_finished_is_that_pictures_error(segment, items, monkeypatch):
    row_of = rows.row_of

    def fails(item: Item, *rest: object, **options: object) -> dict:
        if item.id == items[1].id:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        if item.id == items[2].id:
            raise PictureError("it is needed in full only now")
        return row_of(item, *rest, **options)

    monkeypatch.setattr(rows, "row_of", fails)
    told = segment(items[:4]).column("error").to_pylist()
    assert told[0] is told[3] is None
    assert told[1] == "MemoryError: there is too little for masks of 31x41"
    assert told[2] == "PictureError: it is needed in full only now"

    def broken(*_: object, **__: object) -> dict:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(rows, "row_of", broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        segment(items[:4])


@pytest.mark.parametrize("after", [0, 3])
def test_it_stops_when_it_is_told_to(segment, items, after):
    count = iter(range(100))
    with pytest.raises(StoppedError):
        segment(items, stopped=lambda: next(count) >= after)


def test_what_was_fetched_elsewhere_is_not_fetched_again(segment, items):
    contents = list(fetched(items, 4))
    moved = [item._replace(uri=f"/gone/{item.id}") for item in items]
    assert segment(moved, contents).column("area").equals(segment(items).column("area"))


def test_a_device_without_room_for_one_picture_is_told(collection, model, tmp_path, monkeypatch):
    outcome = small_run(collection, tmp_path, model, limit=3)
    maker = PartMaker(Task(outcome.folder.path, DEFAULT_LOADING))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(maker.rows, "rows", full)
    with pytest.raises(ClipsegError, match="too little memory for one picture"):
        maker(0)


def test_a_worker_with_other_files_of_the_model_refuses(collection, model, tmp_path, monkeypatch):
    outcome = small_run(collection, tmp_path, model, limit=3)
    monkeypatch.setattr(parts, "weights_sum", lambda *_: "0" * 64)
    with pytest.raises(ClipsegError, match="are not those that the run was begun with"):
        PartMaker(Task(outcome.folder.path, DEFAULT_LOADING))
