"""Uses of works: what was done with which work, how often, where and by which model.

1. The uses are a closed list; every outside vocabulary is mapped to it, never the other way.
2. Counts are exact and may be fractions: an output to which a work contributed a tenth is a
   tenth of an output for a fee per output.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from contracts.identifier import check_id


class Use(StrEnum):
    """What can be done with a work."""

    TRAIN = "train"
    FINETUNE = "finetune"
    RAG_INPUT = "rag_input"
    INDEX = "index"
    SEARCH = "search"
    OUTPUT_INFLUENCE = "output_influence"


@dataclass(frozen=True, slots=True)
class Usage:
    """How much one work was used in one way in one period.

    Args:
        work_id: the work.
        use: what was done with it.
        outputs: payable outputs, or the exact part of them that is the work's.
        tokens: payable tokens, likewise.
        right: the right that was used; * where the use names none.
        territory: ISO 3166-1 alpha-2, or * where not known.
        model_version: the model that used it, or * where not known.
    """

    work_id: str
    use: Use = Use.OUTPUT_INFLUENCE
    outputs: Fraction = Fraction(0)
    tokens: Fraction = Fraction(0)
    right: str = "*"
    territory: str = "*"
    model_version: str = "*"

    def __post_init__(self) -> None:
        """Check the id and the counts.

        Raises:
            IdentifierError: the work id has characters outside the allowed ones.
            ValueError: a count is negative; usage that is taken back is an adjustment.
        """
        check_id("work_id", self.work_id)
        if self.outputs < 0 or self.tokens < 0:
            raise ValueError(
                f"usage of work {self.work_id} must not be negative, got {self.outputs} outputs "
                f"and {self.tokens} tokens; book a usage_correction adjustment instead"
            )


@dataclass(frozen=True, slots=True)
class Condition:
    """The IF of a term: which usage it covers. An empty field covers everything.

    Args:
        uses: uses covered.
        rights: rights covered.
        territories: territories covered, ISO 3166-1 alpha-2.
        model_versions: model versions covered.
        works: works covered.
    """

    uses: tuple[Use, ...] = ()
    rights: tuple[str, ...] = ()
    territories: tuple[str, ...] = ()
    model_versions: tuple[str, ...] = ()
    works: tuple[str, ...] = ()

    def covers(self, usage: Usage) -> bool:
        """Say whether the term covers a usage; a fact not known (*) meets no narrower field."""
        return (
            (not self.uses or usage.use in self.uses)
            and (not self.rights or usage.right in self.rights)
            and (not self.territories or usage.territory in self.territories)
            and (not self.model_versions or usage.model_version in self.model_versions)
            and (not self.works or usage.work_id in self.works)
        )

    def covers_cell(self, work_id: str, model_version: str, territory: str) -> bool:
        """Say whether the term covers a work's part of a pool, by where and by which model."""
        return (
            (not self.works or work_id in self.works)
            and (not self.model_versions or model_version in self.model_versions)
            and (not self.territories or territory in self.territories)
        )

    @property
    def specificity(self) -> int:
        """How many fields narrow the condition; of two terms that cover a use, more wins."""
        fields = (self.uses, self.rights, self.territories, self.model_versions, self.works)
        return sum(1 for chosen in fields if chosen)


ANY_USAGE = Condition()


def total_outputs(usages: Iterable[Usage]) -> Fraction:
    """Add up the outputs of usages."""
    return sum((usage.outputs for usage in usages), Fraction(0))


def total_tokens(usages: Iterable[Usage]) -> Fraction:
    """Add up the tokens of usages."""
    return sum((usage.tokens for usage in usages), Fraction(0))
