"""Why steering operators do badly on small models, in three numbers a setting.

    own        nats that a subset's operator takes off a document of the subset
    foreign    the same for a document outside it
    fidelity   per output, Spearman over random coalitions of creators between what steering
               by the coalition gives the output and what training on it gave

On the small set-up (`small_setup`, with its truth). Where `own` is not above `foreign` an
operator has learned what all texts share; where `fidelity` is about zero no recovery of
weights from the drops can help. Beside it the LDS of the method with that setting.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from attribution.evaluation.lds import Interval, bootstrap, evaluate, spearman
from attribution.evaluation.setup import open_setup
from attribution.gradients import LossModel
from attribution.matrix_task import MatrixTask
from attribution.methods.choice import methods_by_name
from attribution.methods.recovery import hat_of_sketch
from attribution.methods.steering import SteerConfig, drops, train_operators
from tests.benchmarks.llama_setup import cache_root, folder_of
from tests.benchmarks.small_setup import SETTINGS

TRIED = (
    "stride:degree=4:epochs=1",
    "stride:degree=4",
    "stride:degree=4:subset_min=64:epochs=4:lr=0.02:stability=0.1",
    "stride:degree=4:columns=works:epochs=4:lr=0.02:stability=0.1",
)
LOOKED_AT, COALITIONS = 60, 20


def cell(found: Interval) -> str:
    """Print a mean with its interval."""
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def main(argv: list[str] | None = None) -> int:
    """Print the table; 0 when it was made, also where there is no truth yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(TRIED))
    parser.add_argument("--quick", action="store_true", help="one setting")
    chosen = parser.parse_args(argv)
    folder = folder_of(cache_root(), SETTINGS)
    if not (folder / "truth" / "truth.json").is_file():
        print(f"skipped: no truth in {folder}; python -m tests.benchmarks.small_setup makes it")
        return 0
    setup = open_setup(folder)
    truth = setup.truth()
    task = MatrixTask(setup.model, (), setup.corpus, setup.queries)
    members = truth.kept["creator"][:COALITIONS]
    gained = -truth.losses["creator"][:COALITIONS]  # [R, Q]
    print(f"{'setting':66s}{'own':>20s}{'foreign':>20s}{'fidelity':>22s}{'LDS documents':>22s}")
    for name in chosen.methods.split(",")[: 1 if chosen.quick else None]:
        begun = time.process_time()
        (method,) = methods_by_name([name])
        judged = evaluate(method.scores(task).double().numpy(), truth)
        own, foreign, steered = steered_by(method, task, members)
        near = bootstrap([spearman(steered[q], gained[:, q]) for q in range(len(steered))])
        print(
            f"{name:66s}{cell(own):>20s}{cell(foreign):>20s}{cell(near):>22s}"
            f"{cell(judged.lds_documents):>22s}  {time.process_time() - begun:.0f} CPU s",
            flush=True,
        )
    return 0


def steered_by(
    method, task: MatrixTask, members: np.ndarray
) -> tuple[Interval, Interval, np.ndarray]:
    """Return the drops of documents under operators of their own coalitions, and of others.

    And those of the outputs under every coalition, [Q, R].
    """
    config = SteerConfig(
        rank=method.rank, depth=method.depth, epochs=method.epochs, lr=method.lr,
        stability=method.stability, linearity=method.linearity, seed=task.seed,
    )  # fmt: skip
    hat = torch.from_numpy(hat_of_sketch(members, max(2, len(members) // 4), 1e-3, task.seed))
    with torch.enable_grad():
        operators = train_operators(
            LossModel(task.model.model), task.documents_encoded, torch.from_numpy(members),
            hat.float(), task.model.context, config,
        )  # fmt: skip
    context = task.model.context
    looked = np.linspace(0, len(members[0]) - 1, LOOKED_AT).astype(int)
    found = np.stack([drops(operators, task.documents_encoded[n], context) for n in looked])
    outputs = np.stack([drops(operators, row, context) for row in task.queries_encoded])
    inside = members[:, looked].T
    own = [float(row[one].mean()) for row, one in zip(found, inside, strict=True)]
    other = [float(row[~one].mean()) for row, one in zip(found, inside, strict=True)]
    return bootstrap(own), bootstrap(other), outputs


if __name__ == "__main__":
    raise SystemExit(main())
