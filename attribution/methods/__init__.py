"""One attribution method a file, all behind one protocol; `METHODS` names them all.

    ekfac_index          EK-FAC along the training path, from a gradient index or streamed
    ekfac_end            EK-FAC at the final weights alone: relative influence
    grad_dot             gradient dot product along the path, no curvature
    bm25                 lexical: BM25 over token ids
    hidden_states        centred cosine of mean last-layer hidden states
    document_size        scored tokens of the document, the same for every output

Scores of different methods have different units; only their order and ratios compare.
"""

from __future__ import annotations

from attribution.methods.bm25 import Bm25
from attribution.methods.document_size import DocumentSize
from attribution.methods.ekfac_index import EkfacEnd, EkfacIndex, GradientDot
from attribution.methods.hidden_states import HiddenStates
from attribution.methods.protocol import MatrixTask, Method

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        EkfacIndex(),
        EkfacEnd(),
        GradientDot(),
        Bm25(),
        HiddenStates(),
        DocumentSize(),
    )
}

__all__ = ["METHODS", "MatrixTask", "Method"]
