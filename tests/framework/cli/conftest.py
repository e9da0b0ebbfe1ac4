"""What the command says and writes; what figures look like is tested with those who draw them."""

import pytest


@pytest.fixture(autouse=True)
def figures(blank_figures: None) -> None:
    """Draw no figures."""
