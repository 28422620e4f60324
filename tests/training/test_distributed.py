"""Several processes that train one model, on CPUs: the same weights as one, and restarts that change nothing."""

import signal
import time

import pytest

from clipseg.errors import ConfigurationError, OutputError
from clipseg.folder_lock import held
from clipseg.training.distributed import Processes, environment
from small_runs import checkpoints, ended, far_apart, log_of, same, start, weights

# What a process does to end itself, or another one, just before a step.
KILL = """
from clipseg.training.stepping import Stepper
step = Stepper.step
def killed(self, number, *arguments, **options):
    mark = os.path.join({mark!r}, "killed")
    if number == {at} and self.processes.rank == {rank} and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill({whom}, signal.{how})
    return step(self, number, *arguments, **options)
Stepper.step = killed
"""


def kill(mark, *, at=5, rank=0, whom="os.getpid()", how="SIGKILL"):
    return KILL.format(mark=str(mark), at=at, rank=rank, whom=whom, how=how)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run folder of one process, undisturbed."""
    folder = tmp_path_factory.mktemp("alone")
    code, errors = ended(start(folder))
    assert code == 0, errors
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The run folder of two processes, undisturbed."""
    folder = tmp_path_factory.mktemp("together")
    code, errors = ended(start(folder, processes=2))
    assert code == 0, errors
    return folder


def test_two_processes_are_as_one(alone, together):
    """Though they differ in how many pixels count, and how many masks are empty."""
    assert far_apart(weights(together), weights(alone)) < 0.01
    for one, two in zip(log_of(alone), log_of(together), strict=True):
        assert two.pop("validation", {}) == pytest.approx(one.pop("validation", {}), abs=2e-3)
        assert two == pytest.approx(one, abs=2e-3)
    assert checkpoints(alone) == checkpoints(together)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again(together, tmp_path):
    out = tmp_path / "run"
    code, errors = ended(start(out, kill(tmp_path, rank=1), processes=2, restarts=1))
    assert code == 0, errors
    assert (tmp_path / "killed").exists()
    assert same(weights(out), weights(together))
    assert log_of(out) == log_of(together)


def test_everything_is_killed_and_the_same_command_goes_on(alone, tmp_path):
    out = tmp_path / "run"
    code, _ = ended(start(out, kill(tmp_path)))
    assert code == -signal.SIGKILL
    assert checkpoints(out)[-1] == "step-0000004"
    code, errors = ended(start(out))
    assert code == 0, errors
    assert same(weights(out), weights(alone))
    assert log_of(out) == log_of(alone)


@pytest.mark.slow
def test_a_signal_to_one_process_ends_all_of_them_well(together, tmp_path):
    out = tmp_path / "run"
    code, errors = ended(start(out, kill(tmp_path, rank=1, how="SIGTERM"), processes=2))
    assert code == 0, errors
    assert not (out / "model").exists()
    assert checkpoints(out)[-1] in ("step-0000006", "step-0000007")
    code, errors = ended(start(out, processes=2))
    assert code == 0, errors
    assert same(weights(out), weights(together))


@pytest.mark.slow
def test_a_launcher_that_is_killed_leaves_nobody_behind(together, tmp_path):
    """Nobody would start its processes again, so they end by themselves, and well."""
    out = tmp_path / "run"
    body = kill(tmp_path, at=1, whom="os.getppid()").replace("return step(", "time.sleep(1); return step(")
    launcher = start(out, f"import time\n{body}", processes=2)
    with launcher.stdout, launcher.stderr:  # which its processes have too, so that they end later
        assert launcher.wait(timeout=120) == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while not is_free(out):
        assert time.monotonic() < deadline, "its processes go on without it"
        time.sleep(0.2)
    assert not (out / "model").exists()
    assert checkpoints(out)
    code, errors = ended(start(out, processes=2))
    assert code == 0, errors
    assert same(weights(out), weights(together))


def is_free(folder):
    try:
        with held(folder):
            return True
    except OutputError:
        return False


def test_one_process_needs_no_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert environment() == Processes(0, 1, 0)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert environment() == Processes(3, 8, 1)
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ConfigurationError, match="RANK='first'; expected a number, as torchrun sets it"):
        environment()


def test_alone_nothing_is_exchanged():
    import torch

    one = Processes()
    assert one.first
    assert one.gather("a") == ["a"]
    values = torch.ones(2)
    assert one.sum(values) is values
    one.wait()
    module = torch.nn.Linear(1, 1)
    assert one.wrapped(module, unused=False) is module
