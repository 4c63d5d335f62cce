"""Judge attribution methods: the set-up that was chosen, and the table on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.evaluation_page import evaluation_document
from reports.files import write_reports
from reports.render.html import render_html

if TYPE_CHECKING:
    from attribution.evaluation.setup import EvaluationSetup


def chosen_setup(folder: Path, decoys: Path | None) -> EvaluationSetup:
    """Open a set-up, with other decoys where some are given.

    Raises:
        RecipeError: a part of the set-up is missing.
    """
    from attribution.evaluation.setup import open_setup  # noqa: PLC0415 - torch

    setup = open_setup(folder)
    return replace(setup, decoys_file=decoys) if decoys is not None else setup


def write_results(result: Mapping[str, Any], out: Path, name: str, date: str) -> dict[str, str]:
    """Write the table as JSON and as a page.

    Args:
        result: what `judge_methods` returned.
        out: folder of the two files.
        name: of the set-up, for the page's head.
        date: ISO date of the page; today's (UTC) where empty.

    Returns:
        `json` and `page`: where they are.
    """
    document = evaluation_document(result, name, date or datetime.now(UTC).date().isoformat())
    said = json.dumps(result, indent=1, sort_keys=True) + "\n"
    files = {"evaluation.json": said.encode(), "evaluation.html": render_html(document)}
    write_reports(out, files)
    return {"json": str(out / "evaluation.json"), "page": str(out / "evaluation.html")}
