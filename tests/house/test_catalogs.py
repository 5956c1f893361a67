"""A thing is added in one place: its file, and one line in its catalog. A file that no catalog lists is a mistake."""

from __future__ import annotations

from pathlib import Path

from edgekube.cli.main import COMMANDS
from edgekube.kinds.catalog import COMPUTED_MODULES, MODULES, SUBRESOURCE_KINDS, built_in

PACKAGE = Path(__file__).parents[2] / "edgekube"


def dotted(path: Path) -> str:
    return "edgekube." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def test_every_file_that_declares_a_kind_is_in_the_catalog() -> None:
    declaring = {dotted(p) for p in (PACKAGE / "kinds").rglob("*.py") if "\nKIND = " in p.read_text()}
    subresources = {kind.type.__module__ for kind in SUBRESOURCE_KINDS}
    assert declaring == {*MODULES, *COMPUTED_MODULES, *subresources}


def test_every_kind_is_named_once_and_can_be_decoded() -> None:
    kinds = built_in()
    assert len({(kind.group, kind.version, kind.plural) for kind in kinds}) == len(kinds)
    for kind in kinds:
        empty = kind.from_dict({})
        assert kind.from_json(kind.to_json(empty)) == empty, kind.name


def test_every_command_file_is_in_the_command_catalog() -> None:
    declaring = {
        dotted(p).removeprefix("edgekube.cli.")
        for p in (PACKAGE / "cli").rglob("*.py")
        if "\nCOMMAND = " in (text := p.read_text()) or "\ndef COMMAND(" in text
    }
    assert declaring == {module for module, _ in COMMANDS.values()}
