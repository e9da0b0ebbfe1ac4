"""What is drawn is tested with those who draw it."""

import pytest


@pytest.fixture(autouse=True)
def figures(blank_figures: None) -> None:
    """Draw no figures."""
