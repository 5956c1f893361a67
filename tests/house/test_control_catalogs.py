"""A controller, a scheduling rule or a score is one file and one catalog line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekube.control import catalog, controllers
from edgekube.control.config import Config
from edgekube.control.scheduler import rules, scores
from edgekube.control.scheduler.rules import catalog as rule_catalog
from edgekube.control.scheduler.scores import catalog as score_catalog


@pytest.mark.parametrize(
    ("package", "listed"),
    [
        (controllers, catalog.CONTROLLERS),
        (rules, rule_catalog.MODULES),
        (scores, score_catalog.MODULES),
    ],
)
def test_every_file_is_in_its_catalog(package: object, listed: tuple[str, ...]) -> None:
    (directory,) = package.__path__  # type: ignore[attr-defined]
    files = {path.stem for path in Path(directory).glob("*.py")} - {"__init__", "catalog"}
    assert files == set(listed)
    assert len(set(listed)) == len(listed)


def test_every_loop_has_a_name_of_its_own() -> None:
    names = [loop.name for loop in catalog.load(Config())]
    assert len(set(names)) == len(names)
