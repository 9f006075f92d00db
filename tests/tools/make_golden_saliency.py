#!/usr/bin/env python3
"""Writes tests/data/golden_saliency/spectral_residual.pt: small pictures and
the maps that OpenCV contrib's spectral residual makes of them.

    python3 -m venv venv
    venv/bin/pip install torch==2.13.0 opencv-contrib-python-headless==5.0.0.*
    venv/bin/python tests/tools/make_golden_saliency.py

The file is a dictionary of tensors: image_0, image_1, ... uint8 [3, H, W] (RGB)
and map_0, map_1, ... float16 [H, W] in [0, 1].
"""

# SPDX-License-Identifier: Apache-2.0
import pathlib

import cv2
import numpy
import torch


def disc(height, width, y, x, radius):
    rows, columns = numpy.mgrid[0:height, 0:width]
    return numpy.hypot(rows - y, columns - x) <= radius


def pictures():
    random = numpy.random.RandomState(5)
    # A brown disc on skin.
    plain = numpy.full((64, 64, 3), (220, 180, 160), numpy.uint8)
    plain[disc(64, 64, 28, 36, 9)] = (110, 70, 50)
    yield plain
    # Two discs on a slope of light, with noise.
    slope = numpy.linspace(90, 200, 64)[None, :, None] + numpy.zeros((64, 64, 3))
    slope = slope + random.normal(0, 6, slope.shape)
    slope[disc(64, 64, 20, 18, 6)] = (40, 60, 200)
    slope[disc(64, 64, 44, 46, 4)] = (220, 40, 40)
    yield numpy.clip(slope, 0, 255).astype(numpy.uint8)
    # A small square on stripes, at another size.
    rows, columns = numpy.mgrid[0:96, 0:96]
    stripes = 128 + 50 * numpy.sin(columns * 0.8 + rows * 0.3)
    stripes = numpy.repeat(stripes[:, :, None], 3, 2)
    stripes[40:52, 60:72] = (30, 30, 30)
    yield numpy.clip(stripes, 0, 255).astype(numpy.uint8)


def main():
    method = cv2.saliency.StaticSaliencySpectralResidual_create()
    result = {}
    for i, picture in enumerate(pictures()):
        done, saliency = method.computeSaliency(
            cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        )
        assert done
        result[f"image_{i}"] = torch.from_numpy(
            picture.transpose(2, 0, 1).copy()
        )
        result[f"map_{i}"] = torch.from_numpy(saliency.astype("float16").copy())
    folder = pathlib.Path(__file__).resolve().parent.parent / "data"
    torch.save(result, folder / "golden_saliency" / "spectral_residual.pt")


if __name__ == "__main__":
    main()
