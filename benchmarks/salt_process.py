"""Salt's side of benchmarks/salt_step.py: a process of Salt's own environment, which imports nothing of raytag.

It is told what to do on standard input, a JSON document a line, and answers each with one on standard output: first
the job (see :meth:`benchmarks.salt_sides.RaytagSide.hand_to_salt`), then any number of "compare" and "step".
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from salt.data import SaltDataset
from salt.data.samplers import RandomBatchSampler
from salt.models import ClassificationTask, GlobalAttentionPooling, SaltModel, Transformer, VertexingTask
from salt.modelwrapper import ModelWrapper
from torch import nn

JETS, TRACKS = "jets", "tracks"
JET_LABEL, ORIGIN_LABEL, VERTEX_LABEL = "flavour_label", "ftagTruthOriginLabel", "ftagTruthVertexIndex"
NUM_ORIGINS = 8


def main() -> None:
    """Answer one line after the other."""
    torch.set_num_threads(1)
    job = json.loads(sys.stdin.readline())
    torch.set_float32_matmul_precision(job["matmul_precision"])
    model, dataset = build_model(job), open_dataset(job)
    say({name: list(parameter.shape) for name, parameter in model.model.named_parameters()})
    model.model.load_state_dict(torch.load(job["weights"]), strict=False)  # strict: the register's mask is no weight
    training = Training(model, dataset, job)
    for line in sys.stdin:
        say(compare(model, dataset, job["batch_size"]) if json.loads(line) == "compare" else training.step())


def say(answer: object) -> None:
    """Answer."""
    print(json.dumps(answer), flush=True)


def build_model(job: dict[str, Any]) -> ModelWrapper:
    """Build GN2 from Salt's modules, with the sizes of its GN2 configuration scaled to the width."""
    width, token_width, variables = job["width"], job["width"] // 2, job["variables"]

    def head(num_outputs: int, num_tracks: int) -> dict[str, Any]:
        return {
            "input_size": max(1, num_tracks) * token_width,
            "context_size": token_width if num_tracks else 0,
            "hidden_layers": [token_width, token_width // 2, token_width // 4],
            "output_size": num_outputs,
            "activation": "ReLU",
        }

    weights, class_weights = job["loss_weights"], yaml.safe_load(Path(job["class_dict"]).read_text())
    tasks = [
        ClassificationTask(
            name="jet_classification",
            input_name=JETS,
            label=JET_LABEL,
            class_names=job["class_names"],
            weight=weights["jet_classification"],
            loss=nn.CrossEntropyLoss(weight=torch.tensor(class_weights[JETS][JET_LABEL])),
            dense_config=head(len(job["class_names"]), 0),
        ),
        ClassificationTask(
            name="track_origin",
            input_name=TRACKS,
            label=ORIGIN_LABEL,
            weight=weights["track_origin"],
            loss=nn.CrossEntropyLoss(weight=torch.tensor(class_weights[TRACKS][ORIGIN_LABEL])),
            dense_config=head(NUM_ORIGINS, 1),
        ),
        VertexingTask(
            name="vertexing",
            input_name=TRACKS,
            label=VERTEX_LABEL,
            weight=weights["vertexing"],
            loss=nn.BCEWithLogitsLoss(reduction="none"),
            dense_config=head(1, 2),
        ),
    ]
    embedding = {"output_size": width, "hidden_layers": [width], "activation": "ReLU"}
    model = SaltModel(
        init_nets=[{"input_name": TRACKS, "dense_config": embedding, "variables": variables, "global_object": JETS}],
        encoder=Transformer(
            num_layers=job["num_layers"],
            embed_dim=width,
            out_dim=token_width,
            attn_type=job["attention"],
            attn_kwargs={"num_heads": job["num_heads"]},
            dense_kwargs={"activation": "ReLU"},
            num_registers=1,
        ),
        pool_net=GlobalAttentionPooling(input_size=token_width),
        tasks=nn.ModuleList(tasks),
    )
    return ModelWrapper(
        model,
        lrs_config={"initial": 1e-7, "max": 5e-4, "end": 1e-5, "pct_start": 0.01, "weight_decay": 1e-5},
        global_object=JETS,
        norm_config={"norm_dict": job["norm_dict"], "variables": variables, "global_object": JETS, "input_map": None},
    )


def open_dataset(job: dict[str, Any]) -> SaltDataset:
    """Open the h5 file as Salt's data module does."""
    return SaltDataset(
        job["train"],
        norm_dict=job["norm_dict"],
        variables=job["variables"],
        stage="fit",
        labels={JETS: [JET_LABEL], TRACKS: [ORIGIN_LABEL, VERTEX_LABEL]},
        global_object=JETS,
    )


class Training:
    """What Lightning does with Salt's model, data and optimizer settings, and no more than that."""

    def __init__(self, model: ModelWrapper, dataset: SaltDataset, job: dict[str, Any]) -> None:
        self.model, lrs = model, model.lrs_config
        self.batches = endless(dataset, RandomBatchSampler(dataset, job["batch_size"], shuffle=True, drop_last=True))
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lrs["initial"], weight_decay=lrs["weight_decay"])
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=lrs["max"],
            total_steps=job["num_steps"],
            div_factor=lrs["max"] / lrs["initial"],
            final_div_factor=lrs["initial"] / lrs["end"],
            pct_start=lrs["pct_start"],
        )

    def step(self) -> dict[str, float]:
        """Take a step; return the CPU seconds of reading the batch and of the rest, and the tracks of the batch."""
        started = time.process_time()
        batch = next(self.batches)
        read = time.process_time()
        num_tracks = int((~batch[1][TRACKS]).sum())
        resumed = time.process_time()
        loss = self.model.shared_step(batch)[3]["loss"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return {"read": read - started, "train": time.process_time() - resumed, "tracks": num_tracks}


def endless(dataset: SaltDataset, sampler: RandomBatchSampler) -> Iterator[Any]:
    """Yield the batches of one epoch after another."""
    while True:
        for rows in sampler:
            yield dataset[rows]


def compare(model: ModelWrapper, dataset: SaltDataset, batch_size: int) -> dict[str, Any]:
    """Return losses, jet logits and gradient norms of the file's first batch, in float64."""
    inputs, masks, labels = dataset[slice(0, batch_size)]
    model.double()
    predictions, _, _, losses = model.shared_step(({name: x.double() for name, x in inputs.items()}, masks, labels))
    losses["loss"].backward()
    answer = {
        "losses": {task.name: losses[task.name].item() / task.weight for task in model.model.tasks},
        "logits": predictions[JETS]["jet_classification"].tolist(),
        "gradients": {name: parameter.grad.norm().item() for name, parameter in model.model.named_parameters()},
    }
    model.float().zero_grad()
    return answer


if __name__ == "__main__":
    main()
