"""Prints the reference numbers of src/losses/perceptual.rs.

    pip install torch==2.11.0
    OMP_NUM_THREADS=1 python lpips.py [lpips-vgg16.safetensors]

LPIPS (Zhang et al. 2018) in double precision, written from the paper's equation 1 and the package's scaling of colours;
the file is that of tools/lpips_to_safetensors.py.
"""

import json
import math
import os
import struct
import sys

sys.setdlopenflags(os.RTLD_LAZY)
import torch
import torch.nn.functional as F

SHIFT = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(1, 3, 1, 1)
SCALE = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(1, 3, 1, 1)


def wave(shape, step, size):
    count = math.prod(shape)
    return torch.tensor([size * math.sin(step * i + 0.3) for i in range(count)], dtype=torch.float64).reshape(shape)


def features(pictures, stages):
    x = (pictures.permute(0, 3, 1, 2) - SHIFT) / SCALE
    for i, stage in enumerate(stages):
        x = F.max_pool2d(x, 2) if i else x
        for weight, bias in stage:
            x = F.relu(F.conv2d(x, weight[:, :, 0], bias, padding=1))
        yield x


def distance(a, b, stages, linear):
    total = 0
    for x, y, weights in zip(features(a, stages), features(b, stages), linear):
        x, y = (f / (f.norm(dim=1, keepdim=True) + 1e-10) for f in (x, y))
        total = total + ((x - y) ** 2 * weights.view(1, -1, 1, 1)).sum(1).mean((1, 2))
    return total.tolist()


def small():
    sizes, stages, linear, before, number = [(2, 5), (1, 7), (2, 6)], [], [], 3, 0
    for count, channels in sizes:
        stage = []
        for _ in range(count):
            weight = wave([channels, before, 1, 3, 3], 0.7 + 0.01 * (number + 1), 0.4)
            stage.append((weight, wave([channels], 0.7 + 0.01 * (number + 2), 0.4)))
            before, number = channels, number + 2
        stages.append(stage)
    for _, channels in sizes:
        number += 1
        linear.append(wave([channels], 0.7 + 0.01 * number, 0.4).abs())
    shape = [2, 19, 23, 3]
    return distance(wave(shape, 0.11, 1.0), wave(shape, 0.13, 1.0), stages, linear)


def opened(path):
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header, body = json.loads(file.read(length)), file.read()
    tensors = {}
    for name, info in header.items():
        if name != "__metadata__":
            start, end = info["data_offsets"]
            values = torch.frombuffer(bytearray(body[start:end]), dtype=torch.float32)
            tensors[name] = values.reshape(info["shape"]).double()
    counts = [2, 2, 3, 3, 3]
    get = lambda i, j: tuple(tensors[f"stages.{i}.{j}.{part}"] for part in ("weight", "bias"))
    stages = [[get(i, j) for j in range(count)] for i, count in enumerate(counts)]
    return stages, [tensors[f"linear.{i}"] for i in range(len(counts))]


print("small network:", small())
if len(sys.argv) > 1:
    shape = [2, 35, 67, 3]
    print("LPIPS-VGG16:", distance(wave(shape, 0.011, 1.0), wave(shape, 0.013, 1.0), *opened(sys.argv[1])))
