"""Synthetic scenes need two packages of the operating system; their tests say so where these are absent."""

import pytest

from clipseg.data.pictograms import pictograms, sprites
from clipseg.errors import MissingPackageError


@pytest.fixture(scope="session")
def installed_pictograms() -> None:
    """Skips a test where the emoji font or the CLDR is not installed."""
    try:
        pictograms("🐱")
        sprites("🐱")
    except MissingPackageError as error:
        pytest.skip(f"system package missing: {error}")
