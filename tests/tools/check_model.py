#!/usr/bin/env python3
"""Runs the Python lines of docs/weights.md on a network that C++ trained.

    pip install torch torchvision numpy safetensors onnx onnxscript onnxruntime
    python tests/tools/check_model.py FOLDER

FOLDER holds network.safetensors, as the trainer leaves it (a ResNet-18 of full
width), and io.safetensors: pictures in [0, 1] as `pixels`, and the `logits` of C++.
The lines' logits, and those of the ONNX file that they write, must be the same.

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import re
import sys

try:
    import onnxruntime
    import onnxscript
    import torch
    from safetensors.torch import load_file

    # PyPI's torchvision beside a torch without CUDA has no operators of its own.
    # No classifier needs them, but its import asks for these two.
    ops = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision
    except RuntimeError:
        for name in ("nms", "qnms"):
            ops.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        import torchvision
except ImportError as error:
    print(error)
    sys.exit(77)  # the test is left out, aloud

page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "weights.md").read_text()
lines = re.search(r"<!-- model -->\n```python\n(.*?)```", page, re.DOTALL).group(1)
print(lines)
os.chdir(sys.argv[1])
io = load_file("io.safetensors")
page_names = {"pixels": io["pixels"]}
exec(lines, page_names)


def check(name, logits):
    worst = (torch.as_tensor(logits) - io["logits"]).abs().max().item()
    print(f"{name}: logits differ from C++'s by at most {worst:.2e}")
    assert worst < 1e-5, name


check("torchvision", page_names["logits"].detach())
session = onnxruntime.InferenceSession("network.onnx")
images = page_names["images"].numpy()
check("onnxruntime", session.run(None, {session.get_inputs()[0].name: images})[0])
# Another number of pictures than the export saw.
two = session.run(None, {session.get_inputs()[0].name: images[:2]})[0]
assert two.shape[0] == 2, two.shape
