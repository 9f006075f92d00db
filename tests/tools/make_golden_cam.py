"""Writes tests/data/golden_cam: class attention maps as three Python libraries make them.

    python3 -m venv venv && . venv/bin/activate
    pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
    pip install --no-deps torchvision==0.28.0 grad-cam==1.5.7 torchcam==0.5.0 captum==0.9.0
    pip install pillow numpy matplotlib tqdm opencv-python-headless scikit-learn ttach safetensors
    python tests/tools/make_golden_cam.py

Only numbers are kept. A small network with fixed weights runs in double on three images, each with its
own class; its head is a convolution and a linear layer on the flattened result, so that gradients vary
over space. Maps are taken at three places: `shallow` (after the first ReLU), `signed` (the second
convolution, before its ReLU) and `deep` (after it). The head is strong enough for gradients of order 10:
two of the libraries add an epsilon to their denominators, which hides below 1e-5 then. Deterministic: a
second run writes the same bytes. tests/data/golden_cam/README.md says what each file holds.
"""
import pathlib

import numpy
import torch

# torchvision from PyPI is built for CUDA; beside a CPU-only torch it loads once its operators have names.
_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms", "roi_align", "qroi_align", "roi_pool", "ps_roi_align", "ps_roi_pool",
              "deform_conv2d", "_roi_align_backward", "_roi_pool_backward", "_ps_roi_align_backward",
              "_ps_roi_pool_backward", "_deform_conv2d_backward"):
    _library.define(_name + "(Tensor a) -> Tensor")

import captum.attr
import pytorch_grad_cam as peer
import torchcam.methods as torchcam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

OUT = pathlib.Path(__file__).resolve().parent.parent / "data" / "golden_cam"
TARGET = [2, 0, 3]


def make_network():
    generator = torch.Generator().manual_seed(20)
    network = torch.nn.Sequential()
    network.add_module("conv1", torch.nn.Conv2d(3, 5, 3, stride=2, padding=1))
    network.add_module("shallow", torch.nn.ReLU())
    network.add_module("signed", torch.nn.Conv2d(5, 6, 3, stride=2, padding=1))
    network.add_module("deep", torch.nn.ReLU())
    network.add_module("conv3", torch.nn.Conv2d(6, 8, 3))
    network.add_module("relu3", torch.nn.ReLU())
    network.add_module("flatten", torch.nn.Flatten())
    network.add_module("head", torch.nn.Linear(8 * 4 * 3, 4))
    network.double()
    gains = {"conv1": 0.3, "signed": 2, "conv3": 2, "head": 250}
    with torch.no_grad():
        for name, gain in gains.items():
            layer = getattr(network, name)
            for parameter in (layer.weight, layer.bias):
                values = torch.randn(parameter.shape, generator=generator, dtype=torch.double)
                parameter.copy_(gain / layer.weight[0].numel() ** 0.5 * values)
    images = torch.randn(3, 3, 24, 20, generator=generator, dtype=torch.double)
    return network, images


def tensor(array):
    return torch.as_tensor(numpy.asarray(array)).detach().clone().contiguous()


def peer_maps(network, images, layer):
    """pytorch-grad-cam: the raw maps."""
    maps = {}
    targets = [ClassifierOutputTarget(k) for k in TARGET]
    for name, kind in {"grad_cam": peer.GradCAM, "grad_cam_plus_plus": peer.GradCAMPlusPlus,
                       "hires_cam": peer.HiResCAM, "xgrad_cam": peer.XGradCAM, "layer_cam": peer.LayerCAM,
                       "element_wise": peer.GradCAMElementWise}.items():
        with kind(network, [layer]) as cam:
            cam(images, targets)
            seen = cam.activations_and_grads
            raw = cam.get_cam_image(images, layer, targets, seen.activations[0].numpy(),
                                    seen.gradients[0].numpy(), False)
        maps["pytorch_grad_cam." + name] = tensor(raw)
    return maps


def torchcam_maps(network, images, layer):
    """TorchCAM, not normalised: its maps end in a ReLU."""
    maps = {}
    for name, kind in {"grad_cam": torchcam.GradCAM, "grad_cam_plus_plus": torchcam.GradCAMpp,
                       "xgrad_cam": torchcam.XGradCAM, "layer_cam": torchcam.LayerCAM}.items():
        with kind(network, layer) as cam:
            maps["torchcam." + name] = tensor(cam(TARGET, network(images), normalized=False)[0])
    return maps


def captum_maps(network, images, layer):
    target = torch.tensor(TARGET)
    grad_cam = captum.attr.LayerGradCam(network, layer).attribute(images, target)
    products = captum.attr.LayerGradientXActivation(network, layer).attribute(images, target)
    return {"captum.grad_cam": tensor(grad_cam.detach().squeeze(1)),
            "captum.gradient_x_activation": tensor(products.detach().sum(1))}


def fused_maps(network, images):
    """What the libraries hand out: pytorch-grad-cam's mean of layers and one layer, TorchCAM's maximum."""
    maps = {}
    layers = [network.shallow, network.deep]
    targets = [ClassifierOutputTarget(k) for k in TARGET]
    for name, chosen in {"mean": layers, "deep": [network.deep]}.items():
        with peer.GradCAM(network, chosen) as cam:
            maps["pytorch_grad_cam." + name] = tensor(cam(images, targets))
    for name, kind in {"grad_cam": torchcam.GradCAM, "layer_cam": torchcam.LayerCAM}.items():
        with kind(network, layers) as cam:
            cams = cam(TARGET, network(images), normalized=True)
            maps["torchcam.fuse_cams." + name] = tensor(cam.fuse_cams(cams))
    return maps


def main():
    network, images = make_network()
    network.eval()
    OUT.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        shallow = network.shallow(network.conv1(images))
    inputs = {"shallow": shallow, "target": torch.tensor(TARGET), "image_size": torch.tensor(images.shape[2:]),
              "logits": network(images)}
    for layer in ("signed", "conv3", "head"):
        inputs[layer + ".weight"] = getattr(network, layer).weight
        inputs[layer + ".bias"] = getattr(network, layer).bias
    files = {"network": {key: tensor(value.detach()) for key, value in inputs.items()},
             "fused": fused_maps(network, images)}
    for name in ("shallow", "signed", "deep"):
        layer = getattr(network, name)
        files[name] = {**peer_maps(network, images, layer), **torchcam_maps(network, images, layer),
                       **captum_maps(network, images, layer)}
    for name, tensors in files.items():
        torch.save(tensors, OUT / (name + ".pt"))


if __name__ == "__main__":
    main()
