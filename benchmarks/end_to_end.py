#!/usr/bin/env python3
"""The training of end_to_end.cpp as one writes it in Python, and both in turns.

    pip install torch torchvision pillow
    python benchmarks/end_to_end.py FOLDER --beside build/bench/bin/end_to_end

FOLDER is what end_to_end.cpp has written. Without --beside the script trains, on --first of the
pictures, and prints pictures a second; with it, it runs itself and the programs named in turns and
prints of each the median, least and most. The last line is JSON.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

SIZE = 144


class Pictures(torch.utils.data.Dataset):
    """Bytes [3, SIZE, SIZE], whether it is of the rare class, and its box [4], empty for none."""

    def __init__(self, folder, first, augment):
        self.folder = folder
        with open(os.path.join(folder, "manifest.csv")) as manifest:
            self.rows = list(csv.DictReader(manifest))[:first]
        # The preset "strong", but for its quarter turns, which v2 has no transform for.
        self.change = v2.Compose([
            v2.RandomResizedCrop(SIZE, scale=(0.7, 1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.RandomAffine(15, scale=(0.9, 1.1), shear=(-5, 5, -5, 5), fill=127,
                            interpolation=v2.InterpolationMode.BILINEAR),
            v2.ColorJitter(0.2, 0.2, 0.2, 0.02),
        ]) if augment else v2.Resize((SIZE, SIZE), antialias=True)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row = self.rows[i]
        with Image.open(os.path.join(self.folder, row["path"])) as picture:
            image = v2.functional.to_image(picture.convert("RGB"))
        box = [float(row[side] or 0) for side in ("xmin", "ymin", "xmax", "ymax")]
        box = tv_tensors.BoundingBoxes([box], format="XYXY", canvas_size=image.shape[-2:])
        image, box = self.change(image, box)
        return image.as_subclass(torch.Tensor), row["label"] == "rare", box[0].as_subclass(torch.Tensor)


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if before == after and stride == 1 else nn.Sequential(
            nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet18(nn.Module):
    """A quarter as wide, and its last stage as fine as the one before."""

    def __init__(self):
        super().__init__()
        stages = ((16, 16, 1), (16, 32, 2), (32, 64, 2), (64, 128, 1))
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            *(nn.Sequential(Block(a, b, stride), Block(b, b, 1)) for a, b, stride in stages))
        self.fc = nn.Linear(128, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        features = self.features(x)
        return self.fc(features.mean((2, 3))), features


def attention_loss(logits, features, targets, boxes):
    """CARE's loss of the rare pictures with a box: Grad-CAM of their class, first order."""
    score = logits.gather(1, targets[:, None]).sum()
    gradient, = torch.autograd.grad(score, features, retain_graph=True)
    has_box = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    guided = ((targets == 1) & has_box).nonzero()[:, 0]
    if len(guided) == 0:
        return features.new_zeros(())
    maps = (gradient.mean((2, 3), keepdim=True)[guided] * features[guided]).sum(1)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    maps = (maps - low) / (high - low).clamp_min(1e-8)
    masks = torch.zeros(len(guided), SIZE, SIZE)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes[guided].round().int().tolist()):
        mask[y0:y1, x0:x1] = 1
    inside = F.adaptive_avg_pool2d(masks, maps.shape[1:])
    inner, outer = ((share * maps).sum((1, 2)) / share.sum((1, 2)).clamp_min(1e-8)
                    for share in (inside, 1 - inside))
    return (outer - inner).mean()


def epoch(loader, alpha):
    net = ResNet18().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    class_weights = torch.tensor([2 / 3, 2.0])
    losses, hits = [], []
    for images, labels, boxes in loader:
        images = (images.float() / 255 - 0.5) / 0.25
        images = images.contiguous(memory_format=torch.channels_last)
        targets = labels.long()
        logits, features = net(images)
        loss = F.cross_entropy(logits, targets, weight=class_weights)
        if alpha > 0:
            loss = (1 - alpha) * loss + alpha * attention_loss(logits, features, targets, boxes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        hits.append((logits.argmax(1) == targets).sum())
    assert torch.stack(losses).isfinite().all()


def train(options):
    torch.set_num_threads(options.threads)
    rows = []
    for work, alpha in (("load", None), ("plain", 0), ("guided", 0.5)):
        start = time.perf_counter()
        pictures = Pictures(options.folder, options.first, augment=alpha is not None)
        loader = torch.utils.data.DataLoader(
            pictures, 32, shuffle=True, num_workers=options.workers)
        if alpha is None:
            sum(len(labels) for _, labels, _ in loader)
        else:
            epoch(loader, alpha)
        seconds = time.perf_counter() - start
        rows.append({"work": work, "pictures_a_second": len(pictures) / seconds})
    print(json.dumps({"benchmark": "end_to_end.py", "torch": torch.__version__, "rows": rows}))


def compare(options):
    common = ["--first", str(options.first), "--threads", str(options.threads),
              "--workers", str(options.workers)]
    commands = {program: [program, "--data", options.folder, *common] for program in options.beside}
    commands["python"] = [sys.executable, __file__, options.folder, *common]
    seen = {}
    for _ in range(options.rounds):
        for name, command in commands.items():
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            for row in json.loads(output.splitlines()[-1])["rows"]:
                seen.setdefault((row["work"], name), []).append(row["pictures_a_second"])
    for (work, name), speeds in seen.items():
        print(f"{work:6}  {name}: {statistics.median(speeds):.0f} pictures/s "
              f"({min(speeds):.0f}-{max(speeds):.0f})")
    print(json.dumps([{"work": work, "program": name, "pictures_a_second": speeds}
                      for (work, name), speeds in seen.items()]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--first", type=int, default=2000, help="how many of its pictures")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--beside", nargs="+", help="programs to take turns with")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    (compare if arguments.beside else train)(arguments)
