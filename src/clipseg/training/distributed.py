"""Several processes that train one model: what they tell each other, and how they are started.

This is the one file that knows the launcher's environment. A restart is recognised by its checkpoint alone; the
launcher's own count of restarts differs between machines, so nothing is named or seeded by it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from clipseg.errors import ConfigurationError
from clipseg.modeling.devices import available_device

TIMEOUT = timedelta(minutes=5)
LOOKS_EVERY = 1.0  # seconds between looks after the launcher
"""How long a process waits for the others. Validation and the writing of checkpoints fit into it, a hang does not."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """One process among those that train together: its rank of `world`, and its number on its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """A tensor on the CPU, of one shape everywhere -> its sum over all processes."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def gather(self, value: Value) -> list[Value]:
        """A picklable value -> those of all processes, by rank."""
        if self.world == 1:
            return [value]
        values: list[Value | None] = [None] * self.world
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # all are filled now

    def wait(self) -> None:
        """Return once all processes have come here."""
        if self.world > 1:
            dist.barrier()

    def wrapped(self, module: nn.Module, *, unused: bool) -> nn.Module:
        """A module whose outputs are losses -> one whose gradients are means over the processes.

        `unused` says that some parameters may take no part in a loss.
        """
        if self.world == 1:
            return module
        return DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=unused)


def environment() -> Processes:
    """-> what the launcher said of this process; one of one where there is no launcher.

    Raises ConfigurationError for numbers that are none.
    """
    numbers = []
    for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        text = os.environ.get(name, default)
        if not text.isdecimal():
            raise ConfigurationError(f"the environment says {name}={text!r}; expected a number, as torchrun sets it")
        numbers.append(int(text))
    return Processes(*numbers)


@contextmanager
def joined() -> Iterator[Processes]:
    """-> this process among the others, connected to them for the block: by gloo on CPUs, by nccl between GPUs."""
    processes = environment()
    if processes.world == 1:
        yield processes
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        with warnings.catch_warnings(), _launcher_watched():
            # A head's gradient may lie in another order than its weight; what that costs is nothing here.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield processes
    finally:
        dist.destroy_process_group()


@contextmanager
def _launcher_watched() -> Iterator[None]:
    """Within the block, this process is told to end well, as by SIGTERM, when the one that started it is no more.

    A launcher that is killed cannot hand the signal on; without it nobody would start a dead process again, and those
    alive would wait for it.
    """
    parent, over = os.getppid(), threading.Event()

    def watch() -> None:
        while not over.wait(LOOKS_EVERY):
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=watch, name="launcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def training_device(name: str | torch.device, processes: Processes) -> torch.device:
    """A device's name, or "auto" -> the device of this process: on GPUs, one each. Raises UsageError."""
    if name != "auto":
        return available_device(name)
    if torch.cuda.is_available():
        device = torch.device("cuda", processes.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device
    return torch.device("cpu")


def launch(arguments: Sequence[str], processes: int, max_restarts: int) -> int:
    """Arguments of Python -> the exit code of so many processes of it, started by torchrun's launcher.

    When one of them dies, all are started again, at most `max_restarts` times, and go on from the last checkpoint. The
    signals that end this process are handed on to them, and are no failure where they end well.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The store of the rendezvous keeps addresses of processes that are dead; shared with the training, a restart
    # finds those and fails or hangs (https://github.com/pytorch/pytorch/issues/135712).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=max_restarts,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except SignalException:
        return 0  # the launcher has waited for them
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        return next((code for code in codes if code > 0), 1)
    return 0
