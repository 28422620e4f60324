"""Everything that can go wrong on purpose, as one tree.

    ClipsegError                    exit code 1
    ├── UsageError                  2   options that contradict each other or are not known       (ValueError)
    ├── PictureError                3   a picture that cannot be read, is empty or is too large    (ValueError)
    │   └── PictureNotFoundError    3   a picture file that does not exist                         (FileNotFoundError)
    ├── PromptError                 4   a prompt that is empty, misshapen or does not fit          (ValueError)
    ├── ConfigurationError          5   a configuration or recipe that contradicts itself          (ValueError)
    ├── CheckpointError             6   a model file that cannot be used                           (RuntimeError)
    │   ├── CheckpointNotFoundError 6   a model or file that is neither here nor reachable         (OSError)
    │   ├── CheckpointMismatchError 6   tensors missing, unused or misshapen
    │   └── UnsafeFileError         6   a pickle that wants to run code
    ├── OutputError                 7   a result that cannot be written                            (OSError)
    ├── DataError                   8   a data set that is malformed or not there                  (ValueError)
    ├── TrainingError               9   a training run that cannot go on                           (RuntimeError)
    ├── MissingPackageError        10   an optional package or system package is not installed     (ImportError)
    └── NothingFoundError          11   nothing was found, where that was to be an error

The built-in class in brackets is a second base, so code written for the documented classes, which catches `ValueError`
or `OSError`, keeps working. A message says what, expected, got, and the way out, on one line.
"""

from typing import ClassVar


class ClipsegError(Exception):
    """Base of every error this library raises on purpose; `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


class UsageError(ClipsegError, ValueError):
    """Options that contradict each other or are not known."""

    exit_code = 2


class PictureError(ClipsegError, ValueError):
    """A picture that cannot be read, is empty or is too large."""

    exit_code = 3


class PictureNotFoundError(PictureError, FileNotFoundError):
    """A picture file that does not exist."""


class PromptError(ClipsegError, ValueError):
    """A prompt that is empty, misshapen or does not fit the model."""

    exit_code = 4


class ConfigurationError(ClipsegError, ValueError):
    """A configuration or recipe that contradicts itself."""

    exit_code = 5


class CheckpointError(ClipsegError, RuntimeError):
    """A model file that cannot be used."""

    exit_code = 6


class CheckpointNotFoundError(CheckpointError, OSError):
    """A model or one of its files that is neither on this machine nor reachable."""


class CheckpointMismatchError(CheckpointError):
    """Tensors that are missing, unused or misshapen for the model they are loaded into."""


class UnsafeFileError(CheckpointError):
    """A pickle that would run code when it is read."""


class OutputError(ClipsegError, OSError):
    """A result that cannot be written."""

    exit_code = 7


class DataError(ClipsegError, ValueError):
    """A data set that is malformed or not there."""

    exit_code = 8


class TrainingError(ClipsegError, RuntimeError):
    """A training run that cannot go on."""

    exit_code = 9


class MissingPackageError(ClipsegError, ImportError):
    """An optional Python package, or a package of the operating system, that is needed here and not installed."""

    exit_code = 10


class NothingFoundError(ClipsegError):
    """Nothing was found, where that was to be an error; elsewhere it is a result like others."""

    exit_code = 11
