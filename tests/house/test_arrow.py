"""The architecture, as a test: which package may import which, and where heavy libraries live.

flows -> reports -> ledger -> contracts; attribution stands alone.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAY_IMPORT: dict[str, set[str]] = {
    "contracts": set(),
    "attribution": set(),
    "ledger": {"contracts"},
    "reports": {"contracts", "ledger"},
    "flows": {"contracts", "attribution", "ledger", "reports"},
}

# Heavy or effectful libraries stay in the one room that needs them.
ONLY_IN = {
    "torch": {"attribution"},
    "transformers": {"attribution"},
    "tokenizers": {"attribution"},
    "safetensors": {"attribution"},
    "faiss": {"attribution"},
    "datasketch": {"attribution", "flows"},
    "sqlmodel": {"contracts", "ledger"},
    "sqlalchemy": {"contracts", "ledger"},
    "psycopg": {"ledger"},
    "alembic": {"ledger"},
    "polars": {"attribution", "reports", "flows"},
    "celery": {"flows"},
    "kombu": {"flows"},
    "prefect": {"flows"},
    "click": {"flows"},
    "rich": {"flows"},
    "typst": {"reports"},
    "xlsxwriter": {"reports"},
}


def imported_names(source: str) -> set[str]:
    """Return the top-level names a module imports, lazily imported ones included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def wrong_imports(package: str, name: str, source: str) -> list[str]:
    """Name every import in one module that goes against the arrow or leaves its room."""
    return [
        f"{name} imports {imported}"
        for imported in sorted(imported_names(source))
        if (imported in MAY_IMPORT and imported != package and imported not in MAY_IMPORT[package])
        or (imported in ONLY_IN and package not in ONLY_IN[imported])
    ]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_package_imports_only_what_it_may(package):
    """An import against the arrow is a design change and is made in this file first."""
    wrong = [
        line
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in wrong_imports(
            package, str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        )
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("package", "planted", "named"),
    [
        ("ledger", "import torch", "torch"),
        ("ledger", "from reports import statement", "reports"),
        ("contracts", "def f():\n    import ledger.store", "ledger"),
        ("attribution", "from contracts.split import split", "contracts"),
    ],
)
def test_planted_import_is_caught(package, planted, named):
    """The rule itself works: a planted wrong import is named."""
    assert wrong_imports(package, "planted.py", planted) == [f"planted.py imports {named}"]
