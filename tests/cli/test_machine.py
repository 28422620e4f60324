"""What is read of a machine, from file systems made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipseg.cli import machine

X86 = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: fpu avx2 avx512f avx512_bf16\n\nmodel name\t: Other\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd i8mm bf16\nCPU implementer\t: 0x41\n"
MEMORY = "MemTotal:       16000 kB\nMemFree:         1 kB\nMemAvailable:    8000 kB\n"


@pytest.fixture
def root(tmp_path: Path):
    def root(**files: str) -> Path:
        places = {
            "cpuinfo": "proc/cpuinfo", "meminfo": "proc/meminfo", "cpu": "sys/fs/cgroup/cpu.max",
            "limit": "sys/fs/cgroup/memory.max", "used": "sys/fs/cgroup/memory.current", "nvidia": "dev/nvidiactl",
        }  # fmt: skip
        for name, content in files.items():
            path = tmp_path / places[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return root


def test_processors(root) -> None:
    assert machine.processor(root(cpuinfo=X86)) == "Some CPU @ 3 GHz"
    assert machine.instruction_sets(root()) == ("avx2", "avx512f", "avx512_bf16")
    assert machine.instruction_sets(root(cpuinfo=ARM)) == ("asimd", "i8mm", "bf16")
    assert machine.processor(root())  # by its architecture, as there is no name


def test_a_system_that_does_not_tell(root) -> None:
    assert machine.processor(root())
    assert machine.instruction_sets(root()) is None
    assert machine.granted_cores(root()) is None
    assert machine.memory_bytes(root()) is None
    assert not machine.has_nvidia(root())
    assert machine.has_nvidia(root(nvidia=""))


@pytest.mark.parametrize(
    ("content", "cores"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None), ("7", None), ("7 0", None)]
)
def test_cores_that_a_container_grants(root, content: str, cores: float | None) -> None:
    assert machine.granted_cores(root(cpu=content)) == cores


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [("max", "5", (16_384_000, 8_192_000)), ("4000000", "1000000", (4_000_000, 3_000_000)), ("10", "20", (10, 0))],
)
def test_memory_of_a_container(root, limit: str, used: str, expected: tuple[int, int]) -> None:
    assert machine.memory_bytes(root(meminfo=MEMORY, limit=limit, used=used)) == expected


@pytest.mark.parametrize("content", ["", "MemTotal: many kB\nMemAvailable: 3 kB", "MemTotal:\nMemAvailable:"])
def test_memory_that_cannot_be_read(root, content: str) -> None:
    assert machine.memory_bytes(root(meminfo=content)) is None


def test_this_machine() -> None:
    assert machine.usable_cores() >= 1
    assert machine.processor()
