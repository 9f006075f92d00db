#!/usr/bin/env python3
"""Writes tests/data/golden_augment/geometry.pt and colour.pt: small images, and
what torchvision makes of them in double precision.

    python3 -m venv venv
    venv/bin/pip install torch==2.13.0 numpy pillow
    venv/bin/pip install --no-deps torchvision==0.28.0
    venv/bin/python tests/tools/make_golden_augment.py

torchvision's compiled operators are not needed, and where they do not load (they
are built for CUDA) their names are declared first.

geometry.pt: images [K, 3, 16, 20] and masks [K, 16, 20] bool; for each of K
affine maps its parameters [K, 6] (angle, translate x and y, scale, shear x and
y), the image warped (bilinear, no fill), the mask warped (nearest); for each of
K crops its window [K, 4] (left, top, width, height) and the image cropped and
resized to [12, 10].

colour.pt: images [K, 3, 6, 8] and grey [K, 1, 6, 8]; factors [K, 4] (brightness,
contrast, saturation, hue); each image after each step alone, and after all four
in this order.
"""

# SPDX-License-Identifier: Apache-2.0
import pathlib

import torch

library = torch.library.Library("torchvision", "DEF")
for name in (
    "nms qnms roi_align qroi_align roi_pool ps_roi_align ps_roi_pool "
    "deform_conv2d _roi_align_backward _roi_pool_backward _ps_roi_align_backward "
    "_ps_roi_pool_backward _deform_conv2d_backward"
).split():
    library.define(name + "(Tensor a) -> Tensor")

import torchvision.transforms.functional as F  # noqa: E402
from torchvision.transforms import InterpolationMode  # noqa: E402


def noise(generator, *sizes):
    """Images in [0, 1], as float32 holds them."""
    return torch.rand(sizes, generator=generator).double()


def geometry(generator):
    parameters = torch.tensor(
        [
            [0, 0, 0, 1, 0, 0],
            [15, 0, 0, 1, 0, 0],
            [-40, 3, -2, 1.3, 0, 0],
            [0, 0, 0, 0.7, 12, 0],
            [170, -1.5, 2.25, 0.9, -8, 6],
            [5, 0, 0, 2.5, 3, -20],
        ],
        dtype=torch.float64,
    )
    windows = torch.tensor(
        [
            [0, 0, 20, 16],
            [2, 3, 14, 10],
            [5, 1, 15, 15],
            [0, 0, 7, 9],
            [9, 4, 11, 12],
            [4, 2, 10, 12],
        ],
        dtype=torch.float64,
    )
    count = len(parameters)
    images = noise(generator, count, 3, 16, 20)
    masks = noise(generator, count, 16, 20) > 0.5

    def affine(image, values, mode):
        angle, x, y, scale, shear_x, shear_y = values.tolist()
        return F.affine(image, angle, [x, y], scale, [shear_x, shear_y], mode)

    warped, warped_masks, cropped = [], [], []
    for image, mask, values, window in zip(images, masks, parameters, windows):
        warped.append(affine(image, values, InterpolationMode.BILINEAR))
        warped_masks.append(
            affine(mask[None].float(), values, InterpolationMode.NEAREST)[0] > 0.5
        )
        left, top, width, height = (int(x) for x in window)
        cropped.append(
            F.resized_crop(
                image,
                top,
                left,
                height,
                width,
                [12, 10],
                InterpolationMode.BILINEAR,
                antialias=False,
            )
        )
    return {
        "images": images.float(),
        "masks": masks,
        "parameters": parameters,
        "warped": torch.stack(warped),
        "warped_masks": torch.stack(warped_masks),
        "windows": windows,
        "cropped": torch.stack(cropped),
    }


def colour(generator):
    factors = torch.tensor(
        [
            [1, 1, 1, 0],
            [1.4, 0.6, 1.5, 0.1],
            [0.3, 1.8, 0.2, -0.3],
            [0, 0, 0, 0.5],
            [1.02, 0.95, 1.1, -0.02],
            [2, 3, 2.5, -0.5],
        ],
        dtype=torch.float64,
    )
    images = noise(generator, len(factors), 3, 6, 8)
    # Grey, black, white, the pure colours and those between: corners of HSV.
    for i in range(8):
        bits = torch.tensor([i & 1, i >> 1 & 1, i >> 2 & 1], dtype=torch.float64)
        images[:, :, 0, i] = bits
        images[:, :, 1, i] = 0.25 + 0.5 * bits
    images[:, :, 2, 0] = 0.375
    grey = noise(generator, len(factors), 1, 6, 8)
    steps = {
        "brightness": F.adjust_brightness,
        "contrast": F.adjust_contrast,
        "saturation": F.adjust_saturation,
        "hue": F.adjust_hue,
    }
    result = {
        "images": images.float(),
        "grey": grey.float(),
        "factors": factors,
    }
    for name, x in (("images", images), ("grey", grey)):
        together = list(x)
        for i, (step, function) in enumerate(steps.items()):
            alone = [function(a, f[i].item()) for a, f in zip(x, factors)]
            result[f"{name}_{step}"] = torch.stack(alone)
            together = [
                function(a, f[i].item()) for a, f in zip(together, factors)
            ]
        result[f"{name}_all"] = torch.stack(together)
    return result


def main():
    generator = torch.Generator().manual_seed(20)
    folder = pathlib.Path(__file__).resolve().parent.parent
    folder = folder / "data" / "golden_augment"
    folder.mkdir(exist_ok=True)
    torch.save(geometry(generator), folder / "geometry.pt")
    torch.save(colour(generator), folder / "colour.pt")


if __name__ == "__main__":
    main()
