"""What this machine is: processor, memory and what a container grants of them. Where a system does not tell, None.

Every function takes the root of the file system, so that other machines can be described.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

ROOT = Path("/")

NOTED = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "avx_vnni"),  # x86
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),  # ARM
)
"""Instruction sets that torch computes faster with, as Linux names them."""

NATIVE_BF16 = ("avx512_bf16", "amx_bf16", "bf16")


def processor(root: Path = ROOT) -> str:
    """-> its name."""
    named = _fields(root / "proc/cpuinfo").get("model name")
    return named or platform.processor() or platform.machine()


def instruction_sets(root: Path = ROOT) -> tuple[str, ...] | None:
    """-> those of NOTED that the processor has."""
    fields = _fields(root / "proc/cpuinfo")
    listed = fields.get("flags") or fields.get("Features")
    return None if listed is None else tuple(name for name in NOTED if name in listed.split())


def usable_cores() -> int:
    """-> how many this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def granted_cores(root: Path = ROOT) -> float | None:
    """-> how many cores' time the container has, where it is limited. Source: Linux's cgroup v2, cpu.max."""
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def memory_bytes(root: Path = ROOT) -> tuple[int, int] | None:
    """-> all memory, and what is left of it, both no more than the container has."""
    fields = _fields(root / "proc/meminfo")
    try:
        total, left = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (KeyError, ValueError, IndexError):
        return None
    limit, used = (_text(root / "sys/fs/cgroup" / name) for name in ("memory.max", "memory.current"))
    if limit.isdecimal():
        total = min(total, int(limit))
        left = min(left, int(limit) - (int(used) if used.isdecimal() else 0))
    return total, max(left, 0)


def has_nvidia(root: Path = ROOT) -> bool:
    """Whether there is an NVIDIA driver at work, whatever torch makes of it."""
    return (root / "dev/nvidiactl").exists()


def _fields(path: Path) -> dict[str, str]:
    """Lines of `name : value` -> the first value of each name."""
    found: dict[str, str] = {}
    for line in _text(path).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
