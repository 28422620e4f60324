"""What `clipseg doctor` looks at: packages, devices, settings and places.

Each check yields findings and raises nothing: what is wrong is a finding too. Nothing is asked of the network.
"""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from clipseg.cli import machine
from clipseg.errors import ClipsegError, MissingPackageError, OutputError
from clipseg.version import __version__

OK, NOTE, MISSING, FAILED = "ok", "note", "missing", "failed"

REPAIR = "install clipseg and torch anew"

PACKAGE = "clipseg"
OWN_EXTRAS = ("test",)
"""Extras for those who work on the library itself."""

SETTINGS = (
    *("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN"),
    *("HTTPS_PROXY", "NO_PROXY", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "NO_COLOR"),
    "CLIPSEG_PROMPT_CACHE",
)
SECRET = ("HF_TOKEN",)

ROOM = 1e9  # bytes; a model of the hub takes 0.6e9
LONGEST = 3.0  # seconds that counting what the cache holds may take


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Fields
        name   of the thing
        value  what it is
        state  OK; NOTE, worth knowing; MISSING, not needed; FAILED, needed
        hint   what to do about it
        code   what the command ends with, if it failed
    """

    name: str
    value: str
    state: str = OK
    hint: str = ""
    code: int = 0


def broken(name: str, error: Exception, code: int) -> Finding:
    """What was looked at, and what that ended with -> a finding; `code` where the error knows no better."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ClipsegError):
        code = error.exit_code
    elif isinstance(error, ImportError):
        code = MissingPackageError.exit_code
    return Finding(name, f"does not work: {reason}", FAILED, REPAIR, code)


class Requirement(NamedTuple):
    """A package that is needed, the first version that will do, and the extra it belongs to, if it does."""

    name: str
    least: str
    extra: str | None


# -- packages ----------------------------------------------------------------------------------------------------------


def requirements() -> list[Requirement] | None:
    """-> what the installed package declares that this Python needs; None where it is not installed as a package."""
    try:
        lines = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    parsed = (read_requirement(line) for line in lines)
    return [found for found in parsed if found is not None]


def read_requirement(line: str) -> Requirement | None:
    """`name[…]>=1.2; extra == "x"` -> its parts; None where it is for another Python than this."""
    head, _, marker = line.partition(";")
    name = re.match(r"[\w.-]+", head.strip())
    least = re.search(r">=\s*([\d.]+)", head)
    before = re.search(r"python_version\s*<\s*[\"']([\d.]+)[\"']", marker)
    extra = re.search(r"extra\s*==\s*[\"']([\w.-]+)[\"']", marker)
    if name is None or (before is not None and sys.version_info >= _numbers(before[1])):
        return None
    return Requirement(name[0], "" if least is None else least[1], None if extra is None else extra[1])


def versions() -> Iterator[Finding]:
    """The library, Python, the system, and all packages that the library cannot do without."""
    yield Finding(PACKAGE, f"{__version__}, in {Path(__file__).parents[1]}")
    yield Finding("python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", platform.platform())
    needed = requirements()
    if needed is None:
        yield Finding("packages", "not known", NOTE, "clipseg runs from its source and is not installed as a package")
        return
    for package in needed:
        if package.extra is not None:
            continue
        wrong = _what_is_wrong(package)
        if wrong is None:
            yield Finding(package.name, metadata.version(package.name))
        else:
            hint = f"pip install '{package.name}>={package.least}'"
            yield Finding(package.name, wrong, FAILED, hint, MissingPackageError.exit_code)


def extras() -> Iterator[Finding]:
    """What can be installed in addition, and the system packages of synthetic scenes."""
    groups: dict[str, list[Requirement]] = {}
    for package in requirements() or []:
        if package.extra is not None and package.extra not in OWN_EXTRAS:
            groups.setdefault(package.extra, []).append(package)
    for extra, packages in groups.items():
        wrong = [f"{package.name} {reason}" for package in packages if (reason := _what_is_wrong(package)) is not None]
        if wrong:
            yield Finding(extra, ", ".join(wrong), MISSING, f"pip install '{PACKAGE}[{extra}]'")
        else:
            yield Finding(extra, ", ".join(f"{package.name} {metadata.version(package.name)}" for package in packages))
    from clipseg.data.kinds import SEEN
    from clipseg.data.pictograms import pictograms, sprites

    try:
        sprites([kind.character for kind in pictograms(SEEN[0])])
        yield Finding("scenes", "emoji font and names are here")
    except MissingPackageError as error:
        yield Finding("scenes", "emoji font or names are not installed", MISSING, str(error))


def _what_is_wrong(package: Requirement) -> str | None:
    try:
        version = metadata.version(package.name)
    except metadata.PackageNotFoundError:
        return "not installed"
    return f"{version} is older than {package.least}" if _numbers(version) < _numbers(package.least) else None


def _numbers(version: str) -> tuple[int, ...]:
    """`2.6.0+cpu` -> (2, 6): leading numbers, without zeros at the end, so that 2.6 is no older than 2.6.0."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in leading[0].split(".")] if leading else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


# -- devices -----------------------------------------------------------------------------------------------------------


def devices() -> Iterator[Finding]:
    """The processor, its memory and threads, and accelerators."""
    yield Finding("cpu", f"{machine.processor()}, {machine.usable_cores()} cores")
    memory = machine.memory_bytes()
    yield Finding("memory", "not known" if memory is None else f"{sized(memory[0])}, {sized(memory[1])} of it free")
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: of a library that torch needs
        yield broken("torch", error, MissingPackageError.exit_code)
        return
    sets = machine.instruction_sets()
    known = "" if sets is None else f": {', '.join(sets) or 'none of note'}"
    yield Finding("instructions", f"{torch.backends.cpu.get_cpu_capability()}{known}")
    if sets is not None:
        native = any(name in sets for name in machine.NATIVE_BF16)
        yield Finding("bfloat16", "native" if native else "emulated, slower than float32 on this processor")
    threads, granted = torch.get_num_threads(), machine.granted_cores()
    if granted is not None and threads > math.ceil(granted):
        hint = f"set OMP_NUM_THREADS={math.ceil(granted)}"
        yield Finding("threads", f"{threads}, but only {granted:g} cores' time is granted here", NOTE, hint)
    else:
        yield Finding("threads", str(threads))
    yield from _accelerators()


def _accelerators() -> Iterator[Finding]:
    import torch

    with warnings.catch_warnings(record=True) as said:  # of drivers that are too old
        warnings.simplefilter("always")
        found = torch.cuda.is_available()
    if found:
        for number in range(torch.cuda.device_count()):
            one = torch.cuda.get_device_properties(number)
            half = "bfloat16 native" if one.major >= 8 else "float16 rather than bfloat16"  # native from Ampere on
            yield Finding(f"cuda:{number}", f"{one.name}, {sized(one.total_memory)}, {half}")
    elif torch.version.cuda is None and machine.has_nvidia():
        hint = "install a build of torch for CUDA"
        yield Finding("cuda", "there is an NVIDIA driver, but this build of torch is for the CPU only", NOTE, hint)
    elif torch.version.cuda is not None:
        reason = f": {next(iter(str(said[0].message).splitlines()), '')}" if said else ""
        yield Finding("cuda", f"no GPU that torch can use{reason}", NOTE, "the CPU is used instead")
    if torch.backends.mps.is_available():
        yield Finding("mps", "Apple's GPU")


# -- settings and places -----------------------------------------------------------------------------------------------


def settings() -> Iterator[Finding]:
    """What of the environment matters, and is set. Secrets are not told."""
    for name in SETTINGS:
        value = os.environ.get(name) or os.environ.get(name.lower(), "")
        if value:
            shown = "set" if name in SECRET else re.sub(r"//[^/@]*@", "//…@", value)
            yield Finding(name, shown)


def places() -> Iterator[Finding]:
    """Where models are kept, which are here, and whether there is room to write."""
    from clipseg.checkpoints.hub_cache import cache_folder, is_offline
    from clipseg.cli.models import listed
    from clipseg.cli.options import MODEL

    cache = cache_folder()
    yield Finding("hub cache", f"{cache}, {_held(cache)}")
    if is_offline():
        yield Finding("offline", "the hub is not asked, only the cache", NOTE, "unset HF_HUB_OFFLINE to fetch models")
    for record in listed():
        size = "" if record["megabytes"] is None else f", {record['megabytes']:g} MB"
        if record["where"] != "hub":
            yield Finding(record["name"], f"{record['where']}{size}")
        else:
            state = NOTE if record["name"] == MODEL else OK
            yield Finding(record["name"], f"not here{size}", state, f"clipseg models pull {record['name']}")
    yield _room("room for models", cache, "set HF_HOME to another place", needed=False)
    yield _room("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to another place", needed=True)


def _held(cache: Path) -> str:
    """The cache's folder -> how much it holds, as far as it can be counted in time."""
    total, end = 0, time.monotonic() + LONGEST
    try:
        if not cache.is_dir():
            return "empty"
        for blob in cache.glob("*/blobs/*"):
            total += blob.lstat().st_size
            if time.monotonic() > end:
                return f"more than {sized(total)}"
    except OSError as error:  # it may not be read, or another process tidies it
        return f"cannot be counted ({error.strerror or error})"
    return sized(total)


def _room(name: str, place: Path, hint: str, *, needed: bool) -> Finding:
    """A folder, which need not be there yet -> whether it can be written into, and how much."""
    there = next((path for path in (place, *place.parents) if os.path.lexists(path)), Path())
    wrong = FAILED if needed else NOTE
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        value = f"{there} cannot be written into ({error.strerror or error})"
        return Finding(name, value, wrong, hint, OutputError.exit_code if needed else 0)
    if not needed and free < ROOM:
        return Finding(name, f"only {sized(free)} free in {there}", NOTE, hint)
    return Finding(name, f"{sized(free)} free in {there}")


def sized(number: float) -> str:
    """Bytes -> the same for people: 603 MB."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        del units[0]
    return f"{number:.1f} {units[0]}" if number < 10 and units[0] != "B" else f"{number:.0f} {units[0]}"
