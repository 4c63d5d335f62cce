"""Papers do not change by accident: every byte is compared with the reviewed one."""

from pathlib import Path

import pytest

from tests.golden.cases import golden_files

FOLDER = Path(__file__).parent
FILES = golden_files()


@pytest.mark.parametrize("name", sorted(FILES))
def test_paper_is_the_reviewed_one(name):
    """After a wanted change run `python -m tests.golden.regenerate` and review the diff."""
    assert (FOLDER / name).read_bytes() == FILES[name]


def test_no_golden_file_is_left_over():
    """A file that no case makes would never be compared."""
    kept = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*") if path.is_file()}
    assert {name for name in kept if "__pycache__" not in name} == set(FILES)
