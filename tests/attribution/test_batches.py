"""Batch plans: a function of lengths alone, longest first, every document once."""

from hypothesis import given
from hypothesis import strategies as st

from attribution.batches import plan
from attribution.tokens import Encoded, EncodedRows, windows

ROWS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)), min_size=1, max_size=30)


def planned_slowly(rows, context, budget):
    """Plan by cutting every document."""
    cut = [[len(window.input_ids) for window in windows(row, context)] for row in rows]
    longest = [max(lengths, default=0) for lengths in cut]
    batches, count = [], 0
    for i in sorted((i for i, n in enumerate(longest) if n), key=lambda i: (-longest[i], i)):
        if not batches or (count + len(cut[i])) * longest[batches[-1][0]] > budget:
            batches.append([])
            count = 0
        batches[-1].append(i)
        count += len(cut[i])
    return batches


@given(ROWS, st.integers(4, 16), st.integers(1, 100))
def test_a_plan_from_lengths_is_the_plan_from_the_windows_themselves(shapes, context, budget):
    """Documents need not be read to be planned, wherever their tokens are kept."""
    rows = [Encoded(tuple(range(length)), prompt) for length, prompt in shapes]
    wanted = planned_slowly(rows, context, budget)
    for kept in (rows, EncodedRows(rows)):
        found = plan(kept, context, budget)
        assert list(found) == wanted
        assert len(found) == len(wanted)
        assert found.order.tolist() == [i for members in wanted for i in members]


def test_parts_of_a_plan_are_taken_like_parts_of_a_list():
    """A benchmark takes the first batches only."""
    found = plan([Encoded((1, 2, 3), 1)] * 5, 8, 6)
    assert found[0] == [0, 1]
    assert found[1:] == [[2, 3], [4]]
    assert found[-1] == [4]
