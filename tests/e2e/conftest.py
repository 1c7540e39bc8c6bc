"""What end-to-end tests share: where the checkout and the program are.

PLUMB names another build of the program (`make asan` does that); the default is build/plumb.
"""
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUMB = ROOT / os.environ.get("PLUMB", "build/plumb")


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def plumb():
    return PLUMB
