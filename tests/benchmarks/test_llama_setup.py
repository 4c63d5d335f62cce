"""The second set-up: what decides its catalogues, its recipe and its folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from attribution.corpus import Corpus, Document
from tests.benchmarks import llama_setup
from tests.benchmarks.llama_setup import SIZES, LlamaSettings, Run, folder_of


def test_packages_take_catalogue_sizes_in_turn():
    """Each package is the creator of its first documents, however many works they were of."""
    harvested = [
        Document(f"{package}-{number}", f"{package}/work-{number % 3}", "text", source_id=package)
        for package in ("a", "b", "c")
        for number in range(50)
    ]
    made = llama_setup._catalogues(Corpus(tuple(harvested)))
    sizes = [
        len(list(filter(lambda d: d.group_id == name, made)))
        for name in dict.fromkeys(d.group_id for d in made)
    ]
    assert tuple(sizes) == SIZES[:3]
    assert {document.group_id for document in made} == {"a", "b", "c"}


def test_the_rate_rises_over_a_tenth_of_the_steps_and_falls_to_a_twentieth():
    """Every document is read once an epoch, and the checkpoints include start and end."""
    recipe = llama_setup._plan(160, Run(2, 16, 1e-3, (0.0, 0.5, 1.0)), 7, None)
    assert recipe.checkpoints == (0, 10, 20)
    assert recipe.lr.argmax() == 2
    assert 0.9e-3 < recipe.lr.max() <= 1e-3
    assert 0.05e-3 < recipe.lr[-1] < 0.12e-3
    assert (np.sort(recipe.order, axis=1) == np.arange(160)).all()


def test_other_settings_are_another_folder():
    """A truth can never be taken for that of another size."""
    usual = LlamaSettings()
    assert folder_of(Path(), usual) == folder_of(Path(), LlamaSettings())
    assert folder_of(Path(), usual) != folder_of(Path(), replace(usual, layers=4))
