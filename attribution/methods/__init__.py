"""One attribution method a file, all behind one protocol; `METHODS` names them all.

    ekfac_index          EK-FAC along the training path, from a gradient index or streamed
    ekfac                the same recomputed at full rank, any layers, never from an index
    ekfac_end            EK-FAC at the final weights alone: relative influence
    grad_dot             gradient dot product along the path, no curvature
    grad_cosine          gradient cosine along the path
    tracin               gradient dot product at the checkpoints, by their learning rates
    trackstar            scaled, projected, preconditioned gradients of length one
    source               segments of the training run, each with its own curvature
    bidirectional        change of each text's loss when the model is moved along the output
    stride               steering operators of random subsets, sparse weights read back
    hidden_states        centred cosine of pooled hidden states, any layer
    embedding            cosine of any local sentence encoder
    bm25, tfidf          lexical, over token ids
    unrolled             the recorded run differentiated from end to start: the audit method
    retraining           the truth itself: removal, Banzhaf, Shapley values, datamodels
    by_size              scored tokens of the document, the same for every output
    equal                the same for every work
    random               noise from the seed

Scores of different methods have different units; only their order and ratios compare.
"""

from __future__ import annotations

from attribution.methods.bidirectional import Bidirectional
from attribution.methods.bm25 import Bm25
from attribution.methods.by_size import BySize, Equal, RandomScores
from attribution.methods.ekfac_index import Ekfac, EkfacEnd, EkfacIndex, GradientDot
from attribution.methods.embedding import Embedding
from attribution.methods.hidden_states import HiddenStates
from attribution.methods.protocol import (
    NEEDS,
    Declaration,
    MatrixTask,
    Method,
    Reread,
    check_needs,
    device_for,
    options_of,
    with_options,
)
from attribution.methods.retraining import Retraining
from attribution.methods.source import Source
from attribution.methods.stride import Stride
from attribution.methods.tfidf import TfIdf
from attribution.methods.tracin import GradientCosine, TracIn
from attribution.methods.trackstar import TrackStar
from attribution.methods.unrolled import UnrolledInfluence

_ALL: tuple[Method, ...] = (
    EkfacIndex(),
    Ekfac(),
    EkfacEnd(),
    GradientDot(),
    GradientCosine(),
    TracIn(),
    TrackStar(),
    Source(),
    Bidirectional(),
    Stride(),
    HiddenStates(),
    Embedding(),
    Bm25(),
    TfIdf(),
    UnrolledInfluence(),
    Retraining(),
    BySize(),
    Equal(),
    RandomScores(),
)
METHODS: dict[str, Method] = {method.name: method for method in _ALL}

__all__ = [
    "METHODS",
    "NEEDS",
    "Declaration",
    "MatrixTask",
    "Method",
    "Reread",
    "check_needs",
    "device_for",
    "options_of",
    "with_options",
]
