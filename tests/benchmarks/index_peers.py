"""One peer in a process and an interpreter of its own: told what to do, it answers in seconds.

    PYTHON index_peers.py NAME SCRATCH < settings

Settings are one JSON line: `documents` (token ids, all of one length), `batches`, `threads`,
`config` (of a GPT-2), `seed`, `queries`; the answer names the phases. Each further line asks
for one phase; the answer is one JSON line with its CPU seconds. `plain` is a forward and
backward pass over the same batches with all weight gradients, as training has it. Nothing of
ours is imported: the interpreter is the peers', with torch and transformers of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D


class Plain:
    """The model and its documents; what a peer adds is in the classes below."""

    def __init__(self, said: dict[str, Any], scratch: Path) -> None:
        torch.set_num_threads(said["threads"])
        torch.manual_seed(said["seed"])
        dropout = {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
        self.model = GPT2LMHeadModel(GPT2Config(**said["config"], **dropout)).eval()
        self.said, self.scratch = said, scratch
        self.ids = torch.tensor(said["documents"])
        self.runs = 0

    def phases(self) -> dict[str, Callable[[], None]]:
        """Name what can be asked for."""
        return {"plain": self.plain}

    def plain(self) -> None:
        """Forward and backward over every batch, weight gradients included."""
        self.model.requires_grad_(requires_grad=True)
        for members in self.said["batches"]:
            self.model.zero_grad(set_to_none=True)
            self.loss(self.model, self.ids[members]).backward()
        self.model.zero_grad(set_to_none=True)

    def loss(self, model: Any, ids: torch.Tensor) -> torch.Tensor:
        """Return the summed token loss of a batch."""
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        flat = logits.reshape(-1, logits.shape[-1])
        return torch.nn.functional.cross_entropy(flat, ids[:, 1:].reshape(-1), reduction="sum")

    def fresh(self) -> Path:
        """Return an empty folder."""
        self.runs += 1
        folder = self.scratch / str(self.runs)
        shutil.rmtree(self.scratch, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


class Bergson(Plain):
    """`bergson build`: rows of random projections, 16 x 16 or 64 x 64 a layer."""

    def phases(self) -> dict[str, Callable[[], None]]:
        """Rows at two widths."""
        rows = {f"rows p{width}": partial(self.rows, width) for width in (16, 64)}
        return {**super().phases(), **rows}

    def rows(self, width: int) -> None:
        """Build the store."""
        from bergson import GradientProcessor, IndexConfig, collect_gradients
        from datasets import Dataset

        config = IndexConfig(
            run_path=str(self.fresh() / "run"), projection_dim=width, drop_columns=False
        )
        config.partial_run_path.mkdir(parents=True, exist_ok=True)
        self.model.requires_grad_(requires_grad=False)
        self.model.get_input_embeddings().requires_grad_(requires_grad=True)
        collect_gradients(
            self.model,
            Dataset.from_dict({"input_ids": self.said["documents"]}),
            GradientProcessor(projection_dim=width),
            config,
            batches=self.said["batches"],
        )


class DattriLlm(Plain):
    """dattri-llm: the whole factors of every layer, written to disk."""

    def phases(self) -> dict[str, Callable[[], None]]:
        """Rows, which are whole factors."""
        return {**super().phases(), "rows factors": self.rows}

    def rows(self) -> None:
        """Store the factors of every batch."""
        from dattri_llm import (
            GradientStorageManager,
            HookManager,
            HookManagerConfig,
            OffloadCallback,
        )

        self.model.requires_grad_(requires_grad=True)
        store = GradientStorageManager(str(self.fresh() / "store"))
        offload = OffloadCallback(
            offload_interval=1, file_manager=store, recording_type="per_sample"
        )
        names = [n for n, m in self.model.named_modules() if isinstance(m, Conv1D)]
        config = HookManagerConfig(hook_types=dict.fromkeys(names, "linear_io"))
        manager = HookManager(self.model, config=config, callbacks=[offload])
        with manager.collect():
            for members in self.said["batches"]:
                self.model.zero_grad(set_to_none=True)
                self.loss(self.model, self.ids[members]).backward()
        manager.remove()
        self.model.zero_grad(set_to_none=True)


class Kronfluence(Plain):
    """kronfluence: EK-FAC factors, then scores that read every document again."""

    def __init__(self, said: dict[str, Any], scratch: Path) -> None:
        super().__init__(said, scratch)
        self.analyzer: Any = None
        self.data = [ids for ids in self.ids]  # noqa: C416 - its loader takes a list of rows

    def phases(self) -> dict[str, Callable[[], None]]:
        """Every step of its fit apart, and scores of two queries."""
        return {
            **super().phases(),
            "fit covariance": self.covariance,
            "fit eigen": lambda: self.prepared().perform_eigendecomposition(
                "f", overwrite_output_dir=True
            ),
            "fit lambda": self.spectrum,
            "score": self.score,
        }

    def prepared(self) -> Any:
        """Return the analyzer, with linear layers in place of Conv1D as its manual asks."""
        if self.analyzer is None:
            from kronfluence.analyzer import Analyzer, prepare_model
            from kronfluence.task import Task

            loss, names = self.loss, []
            twin = _with_linear_layers(self.model, names)

            class Whole(Task):
                """Summed token loss over the block's linear layers."""

                def compute_train_loss(self, batch, model, sample=False):
                    return loss(model, batch)

                def compute_measurement(self, batch, model):
                    return loss(model, batch)

                def get_influence_tracked_modules(self):
                    return names

            task = Whole()
            self.analyzer = Analyzer(
                "peer",
                prepare_model(twin, task),
                task,
                cpu=True,
                disable_tqdm=True,
                output_dir=str(self.fresh()),
            )
        return self.analyzer

    def covariance(self) -> None:
        """First pass of the fit."""
        self.prepared().fit_covariance_matrices(
            "f",
            self.data,
            per_device_batch_size=len(self.said["batches"][0]),
            overwrite_output_dir=True,
        )

    def spectrum(self) -> None:
        """Second pass of the fit."""
        self.prepared().fit_lambda_matrices(
            "f",
            self.data,
            per_device_batch_size=len(self.said["batches"][0]),
            overwrite_output_dir=True,
        )

    def score(self) -> None:
        """Score the queries, which reads every document again."""
        self.prepared().compute_pairwise_scores(
            "s",
            "f",
            self.data[: self.said["queries"]],
            self.data,
            per_device_query_batch_size=self.said["queries"],
            per_device_train_batch_size=len(self.said["batches"][0]),
            overwrite_output_dir=True,
        )


def _with_linear_layers(model: Any, names: list[str]) -> Any:
    """Return a copy of the model in which every Conv1D is a linear layer."""
    twin = GPT2LMHeadModel(model.config).eval()
    twin.load_state_dict(model.state_dict())
    for name, module in list(twin.named_modules()):
        if not isinstance(module, Conv1D):
            continue
        inputs, outputs = module.weight.shape
        linear = torch.nn.Linear(inputs, outputs)
        linear.weight.data, linear.bias.data = module.weight.data.T.contiguous(), module.bias.data
        parent, _, last = name.rpartition(".")
        setattr(twin.get_submodule(parent), last, linear)
        names.append(name)
    return twin


PEERS = {"bergson": Bergson, "dattri-llm": DattriLlm, "kronfluence": Kronfluence}


def main() -> None:
    """Answer until the questions end."""
    # Libraries print and log, some to what was standard output when they were imported; answers are
    # ours alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    importlib.import_module(sys.argv[1].replace("-", "_"))
    peer = PEERS[sys.argv[1]](json.loads(sys.stdin.readline()), Path(sys.argv[2]))
    print(json.dumps({"phases": list(peer.phases())}), file=answers, flush=True)
    for line in sys.stdin:
        begun = time.process_time()
        peer.phases()[line.strip()]()
        print(json.dumps({"seconds": time.process_time() - begun}), file=answers, flush=True)


if __name__ == "__main__":
    main()
