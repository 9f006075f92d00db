#!/usr/bin/env python3
"""Writes tests/data/golden_imbalance/imbalance.pt: what other libraries give.

    pip install torch scikit-learn kornia
    python tests/tools/make_golden_imbalance.py

Made with torch 2.13.0, scikit-learn 1.9.1 and the kornia named in the README
beside the file. SPDX-License-Identifier: Apache-2.0
"""
import pathlib

import numpy
import torch
from kornia.losses import focal_loss
from sklearn.utils.class_weight import compute_class_weight

OUT = pathlib.Path(__file__).parents[1] / "data" / "golden_imbalance"


def main():
    torch.manual_seed(6)
    counts = [1113, 6705, 514, 327, 1099, 115, 142]  # ISIC 2018, task 3
    labels = numpy.repeat(numpy.arange(7), counts)
    logits = 3 * torch.randn(12, 7, dtype=torch.float64)
    target = torch.arange(12) % 7
    golden = {
        "counts": torch.tensor(counts),
        "balanced": torch.from_numpy(
            compute_class_weight("balanced", classes=numpy.arange(7), y=labels)
        ),
        "logits": logits,
        "target": target,
    }
    for gamma in (0.5, 2.0, 5.0):
        x = logits.clone().requires_grad_()
        each = focal_loss(x, target, alpha=None, gamma=gamma, reduction="none")
        each = each.sum(1)  # kornia keeps a column for each class
        each.sum().backward()
        golden[f"focal_{gamma}"] = each.detach()
        golden[f"focal_{gamma}_gradient"] = x.grad
    OUT.mkdir(parents=True, exist_ok=True)
    torch.save(golden, OUT / "imbalance.pt")
    for name, value in golden.items():
        print(name, tuple(value.shape))


if __name__ == "__main__":
    main()
