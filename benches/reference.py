"""The models of `hot_paths` in plain PyTorch: checks that they agree, and times both, turn about.

    python reference.py HOT_PATHS FOLDER [--filter TEXT] [--rounds N] [--compile] [--json OUT]

HOT_PATHS is the benchmark's executable; it writes weights, inputs, outputs and gradients to FOLDER, and runs a case
whenever it is asked to. Eager PyTorch in float32, and in bfloat16 by autocast where the case says so, with its fused
operations (scaled_dot_product_attention, rms_norm, layer_norm, gelu, silu, elu, softmax) wherever they apply; with
--compile also what torch.compile makes of the steps of training.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

# The wheel is linked against CUDA libraries that a comparison on the CPU never calls.
sys.setdlopenflags(os.RTLD_LAZY)

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

torch.backends.cuda.matmul.allow_tf32 = False


class Component:
    """What the benchmark exported of a component; weights of linear maps as PyTorch wants them."""

    def __init__(self, path, **inputs):
        # In bf16 each side rounds in its own places.
        self.low = path.endswith("bf16.safetensors")
        self.tolerance = 5e-2 if self.low else 1e-4
        self.weights, self.inputs, self.outputs, self.gradients = {}, dict(inputs), {}, {}
        for name, array in load_file(path).items():
            # A file of weights alone is one that was trained.
            kind, name = ("weights", name) if inputs else name.split(".", 1)
            getattr(self, kind)[name] = torch.from_numpy(array.astype(np.float32))
        for name, weight in self.weights.items():
            weight = weight.T.contiguous() if is_linear(name, weight) else weight
            self.weights[name] = weight.requires_grad_()

    def step(self, loss):
        """Forward, loss and backward, with fresh gradients."""
        for weight in self.weights.values():
            weight.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            loss = loss()
        loss.backward()
        return loss

    def check_step(self, loss):
        near("loss", self.step(loss).detach(), self.outputs["loss"][0], self.tolerance)
        for name, weight in self.weights.items():
            found = weight.grad.T if is_linear(name, weight) else weight.grad
            near(f"gradient of {name}", found.flatten(), self.gradients[name], self.tolerance)


def is_linear(name, weight):
    return weight.dim() == 2 and not any(part in name for part in ("words", "digits", "places", "quantizer"))


def near(what, found, expected, tolerance=1e-4):
    """To `tolerance` of the largest number."""
    error = (found - expected).abs().max() / expected.abs().max().clamp(min=1e-6)
    if not error <= tolerance:
        sys.exit(f"{what}: off by {error:.2e} of the largest number")


# The Transformer that both backbones stand on.


def linear(w, name, x):
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def feed_forward(w, name, x):
    return linear(w, f"{name}.down", F.gelu(linear(w, f"{name}.up", x), approximate="tanh"))


def place_tokens(w):
    t, h, wide = w["places.t"], w["places.h"], w["places.w"]
    return (t[:, None, None] + h[None, :, None] + wide[None, None, :]).reshape(1, -1, t.shape[1])


def rotary(prompt, grid, size):
    t, h, w = grid
    pairs, quarter = size // 2, size // 8
    place = np.zeros((prompt + t * h * w, 3))
    place[:prompt, 0] = np.arange(-prompt, 0)
    place[prompt:] = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3)
    parts = []
    for axis, count in enumerate([pairs - 2 * quarter, quarter, quarter]):
        parts.append(place[:, axis : axis + 1] * 100.0 ** (-np.arange(count) / count))
    angles = np.concatenate(parts, 1)
    cos, sin = np.cos(angles), np.sin(angles)
    table = lambda a, b: torch.from_numpy(np.concatenate([a, b], 1).astype(np.float32))
    return table(cos, cos), table(-sin, sin)


def turn(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([x[..., half:], x[..., :half]], -1) * sin


def attention(w, name, x, heads, tables, mask=None, cache=None):
    batch, n, width = x.shape
    split = lambda part: linear(w, f"{name}.{part}", x).view(batch, n, heads, width // heads).transpose(1, 2)
    q, k, v = split("query"), split("key"), split("value")
    q = turn(F.rms_norm(q, q.shape[-1:], w[f"{name}.query_norm.weight"], 1e-6), *tables)
    k = turn(F.rms_norm(k, k.shape[-1:], w[f"{name}.key_norm.weight"], 1e-6), *tables)
    if cache is not None:
        if name in cache:
            k, v = torch.cat([cache[name][0], k], 2), torch.cat([cache[name][1], v], 2)
        cache[name] = k, v
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return linear(w, f"{name}.out", y.transpose(1, 2).reshape(batch, n, width))


def depth(w):
    return 1 + max(int(name.split(".")[1]) for name in w if name.startswith("blocks."))


class Dit(Component):
    def __init__(self, folder, heads, name="dit"):
        super().__init__(f"{folder}/{name}.safetensors")
        self.name = name
        w, self.heads = self.weights, heads
        self.prompt = self.inputs["prompt"].long()
        grid = [w[f"places.{axis}"].shape[0] for axis in "thw"]
        self.tables = rotary(self.prompt.shape[1], grid, w["words.weight"].shape[1] // heads)
        self.depth = depth(w)

    def forward(self, prompt, values, guess, times, at=None):
        """Of tokens that stand all at the one time, or token i at the time at[i]."""
        w = self.weights
        modulate = lambda x, shift, scale: F.layer_norm(x, x.shape[-1:], eps=1e-6) * (scale + 1) + shift
        words = F.embedding(prompt, w["words.weight"])
        prefix, n = words.shape[1], values.shape[1]
        times = torch.cat([times, torch.zeros(len(words), 1)], 1)
        time = linear(w, "time2", F.silu(linear(w, "time1", features(times))))
        c = F.silu(time + linear(w, "pooled", words.mean(1, keepdim=True)))  # [B, S + 1, D], the prompt's last

        def modulation(name, parts):
            *tokens, of_prompt = linear(w, name, c).split(1, 1)
            tokens = tokens[0].expand(-1, n, -1) if at is None else torch.cat(tokens, 1)[:, at]
            return torch.cat([of_prompt.expand(-1, prefix, -1), tokens], 1).chunk(parts, 2)

        tokens = linear(w, "clip.input", torch.cat([values, guess], 2)) + place_tokens(w)
        x = torch.cat([words + w["places.prompt"], tokens], 1)
        for i in range(self.depth):
            block = f"blocks.{i}"
            shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation(f"{block}.modulation", 6)
            y = modulate(x, shift_msa, scale_msa)
            x = x + attention(w, f"{block}.attention", y, self.heads, self.tables) * gate_msa
            x = x + feed_forward(w, f"{block}.feed_forward", modulate(x, shift_mlp, scale_mlp)) * gate_mlp
        return linear(w, "clip.output", modulate(x, *modulation("last_modulation", 2))[:, prefix:])

    def field(self):
        inputs = self.inputs
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            return self.forward(self.prompt, inputs["values"], inputs["guess"], inputs["times"]).float()

    def loss(self):
        return (self.field() - self.inputs["target"]).square().mean()

    def cases(self, wrap):
        loss = wrap(self.loss)
        return {
            f"{self.name} forward": torch.inference_mode()(self.field),
            f"{self.name} forward+backward": lambda: self.step(loss),
        }

    def check(self):
        near(f"{self.name} forward", self.field().detach(), self.outputs["field"], self.tolerance)
        self.check_step(self.loss)


class Sampling(Dit):
    """A clip by the sampler of the recipe: Euler's, guided, one latent frame after the other."""

    steps, guidance, shift = 60, 1.5, 4.0

    @torch.inference_mode()
    def sample(self):
        frames = self.weights["places.t"].shape[0]
        x, guess = self.inputs["noise"], torch.zeros_like(self.inputs["noise"])
        at = torch.arange(frames).repeat_interleave(x.shape[1] // frames)
        prompt = torch.cat([self.prompt, torch.zeros_like(self.prompt)])  # with it, and without
        shifted = lambda t: self.shift * t / (1 + (self.shift - 1) * t)
        times = lambda step: shifted((1 + torch.arange(frames) - step / self.steps * frames).double().clamp(0, 1))
        for step in range(self.steps):
            t, to = times(step), times(step + 1)
            made = self.forward(prompt, x.repeat(2, 1, 1), guess.repeat(2, 1, 1), t.float().expand(2, -1), at)
            guess = (made[1:] + self.guidance * (made[:1] - made[1:])).clamp(-1, 1)
            old = torch.where(t == to, 1.0, to / t).float()[at][:, None]
            moves = torch.where(t == to, 0.0, (1 - to) - (1 - t) * (to / t)).float()[at][:, None]
            x = guess * moves + x * old
        bits = (x[0] > 0).long()
        return (bits << torch.arange(bits.shape[1])).sum(1)

    def cases(self, wrap):
        return {f"{self.name}, a clip": self.sample}

    def check(self):
        differ = self.sample() ^ self.outputs["codes"].long()
        bits = self.inputs["noise"].shape[2]
        share = sum((differ >> bit & 1).float().mean() for bit in range(bits)) / bits
        if not share <= 1e-3:
            sys.exit(f"{self.name}: {share:.2%} of the bits differ")


def features(times):
    """64 frequencies from 1 to 1000, as cosines and sines."""
    frequencies = np.float32(1000) ** (np.arange(64, dtype=np.float32) / np.float32(63))
    angles = times[:, :, None] * torch.from_numpy(frequencies)
    return torch.cat([angles.cos(), angles.sin()], 2)


class Lm(Component):
    def __init__(self, folder, heads, name="lm", **inputs):
        super().__init__(f"{folder}/{name}.safetensors", **inputs)
        self.name = name
        w, self.heads = self.weights, heads
        self.prompt, self.codes = self.inputs["prompt"].long(), self.inputs["codes"].long()
        grid = [w[f"places.{axis}"].shape[0] for axis in "thw"]
        prefix, n = self.prompt.shape[1], self.prompt.shape[1] + self.codes.shape[1]
        self.tables = rotary(prefix, grid, w["words.weight"].shape[1] // heads)
        self.seen = torch.ones(n, n, dtype=torch.bool).tril()
        self.seen[:, :prefix] = True
        self.depth = depth(w)

    def norm(self, name, x):
        return F.rms_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], 1e-6)

    def trunk(self, x, tables, mask=None, cache=None):
        for i in range(self.depth):
            block = f"blocks.{i}"
            y = self.norm(f"{block}.norm1", x)
            x = x + attention(self.weights, f"{block}.attention", y, self.heads, tables, mask, cache)
            x = x + feed_forward(self.weights, f"{block}.feed_forward", self.norm(f"{block}.norm2", x))
        return x

    def loss(self):
        w, prefix = self.weights, self.prompt.shape[1]
        start = w["start"].expand(len(self.codes), 1, -1)
        before = F.embedding(self.codes[:, :-1], w["codes.clip.digits.0.weight"])
        tokens = torch.cat([start, before], 1) + place_tokens(w)
        prompt = F.embedding(self.prompt, w["words.weight"]) + w["places.prompt"]
        x = self.trunk(torch.cat([prompt, tokens], 1), self.tables, self.seen)
        logits = linear(w, "codes.clip.heads.0", self.norm("norm", x[:, prefix:]))
        return F.cross_entropy(logits.flatten(0, 1).float(), self.codes.flatten())

    @torch.inference_mode()
    def decode(self, size=2, choose=None):
        """Logits of each step; the codes are the given ones, or those that `choose` picks by the logits."""
        w, cache, all = self.weights, {}, []
        prompt, codes, prefix = self.prompt[:size], self.codes[:size], self.prompt.shape[1]
        places = place_tokens(w)
        at = lambda start, end: [table[start:end] for table in self.tables]
        self.trunk(F.embedding(prompt, w["words.weight"]) + w["places.prompt"], at(0, prefix), cache=cache)
        x = w["start"].expand(size, 1, -1)
        for i in range(codes.shape[1]):
            x = self.trunk(x + places[:, i : i + 1], at(prefix + i, prefix + i + 1), cache=cache)
            all.append(linear(w, "codes.clip.heads.0", self.norm("norm", x))[:, 0].float().numpy())
            code = codes[:, i : i + 1] if choose is None else choose(all[-1])
            x = F.embedding(code, w["codes.clip.digits.0.weight"])
        return all

    def cases(self, wrap):
        per, loss = self.codes.shape[1], wrap(self.loss)
        return {
            f"{self.name} forward+backward": lambda: self.step(loss),
            f"{self.name} decode, a token": (self.decode, per),
        }

    def check(self):
        self.check_step(self.loss)
        near(f"{self.name} decode", torch.from_numpy(np.stack(self.decode())), self.outputs["decoded"])


class Decoding(Lm):
    """Decoding alone, with weights and states in float32 and in bfloat16. Beside our int8 stands bfloat16."""

    def __init__(self, folder, heads, name):
        super().__init__(folder, heads, name)
        self.parts = {}
        for dtype in [torch.float32, torch.bfloat16]:
            weights = {name: weight.detach().to(dtype) for name, weight in self.weights.items()}
            self.parts[dtype] = weights, [table.to(dtype) for table in self.tables]

    def run(self, dtype, rows):
        self.weights, self.tables = self.parts[dtype]
        return self.decode(rows)

    def cases(self, wrap):
        kinds = {"f32": torch.float32, "bf16": torch.bfloat16, "int8": torch.bfloat16}
        run = lambda dtype, rows: (lambda: self.run(dtype, rows), self.codes.shape[1])
        return {
            f"{self.name} decode, {kind}, {rows} rows, a token": run(dtype, rows)
            for kind, dtype in kinds.items()
            for rows in [1, 2]
        }

    def check(self):
        decoded = torch.from_numpy(np.stack(self.run(torch.float32, 2)))
        near(f"{self.name} decode", decoded, self.outputs["decoded"])


class Tokenizer(Component):
    def __init__(self, folder, train, name="tokenizer", **inputs):
        super().__init__(f"{folder}/{name}.safetensors", **inputs)
        self.strides, self.patch, self.train = [[1, 2, 2], [2, 1, 1], [2, 1, 1]], 4, train
        self.clip = self.inputs["clip"].to(torch.uint8)
        self.codes = self.outputs["codes"].numpy().astype(np.int64) if self.outputs else None

    def conv(self, name, x, stride=(1, 1, 1)):
        weight = self.weights[f"{name}.weight"]
        t, h, wide = weight.shape[2:]
        x = F.pad(x, (0, 0, 0, 0, t - 1, 0)) if t > 1 else x
        return F.conv3d(x, weight, self.weights[f"{name}.bias"], stride, (0, h // 2, wide // 2))

    def norm(self, name, x):
        scale = (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()
        return x * scale * self.weights[f"{name}.weight"].view(1, -1, 1, 1, 1)

    def blocks(self, stage, x):
        i = 0
        while f"{stage}.blocks.{i}.norm1.weight" in self.weights:
            block = f"{stage}.blocks.{i}"
            y = self.conv(f"{block}.conv1", F.silu(self.norm(f"{block}.norm1", x)))
            x = x + self.conv(f"{block}.conv2", F.silu(self.norm(f"{block}.norm2", y)))
            i += 1
        return x

    def encoder(self, clips):
        b, c, t, h, w = clips.shape
        p = self.patch
        x = clips.view(b, c, t, h // p, p, w // p, p).permute(0, 1, 4, 6, 2, 3, 5)
        x = self.conv("encoder.stem", x.reshape(b, c * p * p, t, h // p, w // p))
        for i, stride in enumerate([*self.strides, None]):
            stage = f"encoder.stages.{i}"
            x = self.blocks(stage, x)
            if stride:
                x = self.conv(f"{stage}.down", self.norm(f"{stage}.norm", x), stride)
        return self.conv("encoder.head", F.silu(self.norm("encoder.norm", x)))

    def decoder(self, latents):
        x = self.conv("decoder.stem", latents)
        for i, scale in enumerate([None, *reversed(self.strides)]):
            stage = f"decoder.stages.{i}"
            if scale:
                x = depth_to_space(self.conv(f"{stage}.up.conv", x), *scale)[:, :, scale[0] - 1 :]
            x = self.blocks(stage, x)
        x = self.conv("decoder.head", F.silu(self.norm("decoder.norm", x)))
        return depth_to_space(x, 1, self.patch, self.patch)

    @torch.inference_mode()
    def encode(self):
        x = (self.clip.float() / 127.5 - 1).permute(3, 0, 1, 2)[None]
        bits = (self.encoder(x)[0].permute(1, 2, 3, 0) > 0).flatten(0, 2).long()
        return (bits << torch.arange(bits.shape[1])).sum(1).numpy()

    @torch.inference_mode()
    def decode(self):
        t, h, w = 1 + (len(self.clip) - 1) // 4, self.clip.shape[1] // 8, self.clip.shape[2] // 8
        channels = self.weights["encoder.head.bias"].shape[0]
        signs = (torch.from_numpy(self.codes)[:, None] >> torch.arange(channels) & 1).float() * 2 - 1
        clip = self.decoder(signs.view(1, t, h, w, channels).permute(0, 4, 1, 2, 3))
        return ((clip[0].permute(1, 2, 3, 0) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()

    def loss(self):
        clips, pixels, tokens, train = *(self.inputs[name] for name in ("clips", "pixels", "tokens")), self.train
        z = self.encoder(clips)
        made = self.decoder(z + (torch.where(z > 0, 1.0, -1.0) - z).detach())
        z = z.permute(0, 2, 3, 4, 1).flatten(0, 3)
        emphasis = pixels * (train["foreground"] - 1) + 1
        emphasis = emphasis / emphasis.mean()
        gap = made - clips
        loss = (gap.abs() * emphasis).mean() * train["l1"] + (gap.square() * emphasis).mean() * train["l2"]
        loss = loss + (z - torch.where(z > 0, 1.0, -1.0)).square().mean() * train["commitment"]

        mask = tokens + 1e-4
        logits = z * (4 / train["temperature"])
        one, zero = F.logsigmoid(logits), F.logsigmoid(-logits)
        single = -(one * one.exp() + zero * zero.exp()).sum(1).mean()
        bits = z.shape[1]
        digits = (torch.arange(2**bits)[None] >> torch.arange(bits)[:, None] & 1).float()
        mean = ((one @ digits + zero @ (1 - digits)).exp() * (mask / mask.sum())).sum(0)
        batch = -(mean * (mean + 1e-9).log()).sum()
        return loss + single * train["entropy"] - batch * train["diversity"]

    def cases(self, wrap):
        loss = wrap(self.loss)
        return {
            "tokenizer encode": self.encode,
            "tokenizer decode": self.decode,
            "tokenizer forward+backward": lambda: self.step(loss),
        }

    def check(self):
        if (self.encode() != self.codes).any():
            sys.exit("tokenizer encode: other codes")
        # A pixel may be rounded the other way.
        near("tokenizer decode", torch.from_numpy(self.decode()).float(), self.outputs["clip"], 1.01 / 255)
        self.check_step(self.loss)


def depth_to_space(x, st, sh, sw):
    b, depth, t, h, w = x.shape
    x = x.view(b, depth // (st * sh * sw), st, sh, sw, t, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, -1, t * st, h * sh, w * sw)


class SoundStream(Component):
    dilations = [1, 3, 9]

    def __init__(self, folder, strides):
        super().__init__(f"{folder}/soundstream.safetensors")
        self.strides, self.codes = strides, self.outputs["codes"].long()
        self.books = [self.weights[f"quantizer.Rvq.levels.{i}.entries"].detach() for i in range(self.codes.shape[1])]
        for name in [name for name in self.weights if name.startswith("quantizer")]:
            del self.weights[name]

    def conv(self, name, x, stride=1, dilation=1):
        weight = self.weights[f"{name}.weight"]
        x = F.pad(x, (dilation * (weight.shape[2] - 1) + 1 - stride, 0))
        return F.conv1d(x, weight, self.weights[f"{name}.bias"], stride, 0, dilation)

    def units(self, block, x):
        for i, dilation in enumerate(self.dilations):
            y = self.conv(f"{block}.units.{i}.dilated", F.elu(x), dilation=dilation)
            x = x + self.conv(f"{block}.units.{i}.pointwise", F.elu(y))
        return x

    def encoder(self, x):
        x = self.conv("encoder.stem", x)
        for i, stride in enumerate(self.strides):
            block = f"encoder.blocks.{i}"
            x = self.conv(f"{block}.down", F.elu(self.units(block, x)), stride)
        return self.conv("encoder.head", F.elu(x))

    def decoder(self, x):
        x = self.conv("decoder.stem", x)
        for i, stride in enumerate(reversed(self.strides)):
            block, length = f"decoder.blocks.{i}", x.shape[2] * stride
            weight, bias = self.weights[f"{block}.up.weight"], self.weights[f"{block}.up.bias"]
            x = F.conv_transpose1d(F.elu(x), weight, bias, stride)[:, :, :length]
            x = self.units(block, x)
        return self.conv("decoder.head", F.elu(x))

    @torch.inference_mode()
    def encode(self):
        left, codes = self.encoder(self.inputs["sound"][None, None])[0].T, []
        for book in self.books:
            far = book.square().sum(1) - 2 * left @ book.T
            codes.append(far.argmin(1))
            left = left - book[codes[-1]]
        return torch.stack(codes, 1)

    @torch.inference_mode()
    def decode(self):
        vectors = sum(book[codes] for book, codes in zip(self.books, self.codes.T))
        return self.decoder(vectors.T[None])[0, 0]

    def loss(self):
        sounds = self.inputs["batch"][:, None]
        return (self.decoder(self.encoder(sounds)) - sounds).square().mean()

    def cases(self, wrap):
        loss = wrap(self.loss)
        return {
            "soundstream encode": self.encode,
            "soundstream decode": self.decode,
            "soundstream forward+backward": lambda: self.step(loss),
        }

    def check(self):
        if (self.encode() != self.codes).any():
            sys.exit("soundstream encode: other codes")
        near("soundstream decode", self.decode(), self.outputs["sound"])
        self.check_step(self.loss)


class Elementwise(Component):
    def __init__(self, folder):
        super().__init__(f"{folder}/elementwise.safetensors")
        self.x = self.inputs["x"]
        self.tracked = self.x.clone().requires_grad_()
        width = self.x.shape[-1:]
        ones = torch.ones(width)
        self.operations = {
            "gelu": lambda x: F.gelu(x, approximate="tanh"),
            "silu": F.silu,
            "softmax": lambda x: x.softmax(-1),
            "rms_norm": lambda x: F.rms_norm(x, width, ones, 1e-6),
            "layer_norm": lambda x: F.layer_norm(x, width, eps=1e-6),
        }

    def gradient(self, operation):
        self.tracked.grad = None
        (operation(self.tracked) * self.inputs["weights"]).sum().backward()
        return self.tracked.grad

    def cases(self, wrap):
        cases = {}
        for name, operation in self.operations.items():
            cases[f"{name} forward"] = torch.inference_mode()(lambda f=operation: f(self.x))
            cases[f"{name} forward+backward"] = lambda f=operation: self.gradient(f)
        return cases

    def check(self):
        for name, operation in self.operations.items():
            near(name, operation(self.x), self.outputs[name])
            near(f"gradient of {name}", self.gradient(operation), self.gradients[name])


class Products:
    """Matrix products; operands hold noise, whatever it is."""

    def check(self):
        pass

    def cases(self, wrap):
        cases = {}
        for m, k, n in [(5312, 128, 128), (5312, 128, 512), (5312, 512, 128), (2048, 2048, 2048)]:
            for name, dtype in [("", torch.float32), (" bf16", torch.bfloat16)]:
                x, weight = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
                cases[f"product {m}x{k}x{n}{name}"] = torch.inference_mode()(lambda x=x, w=weight: F.linear(x, w))
        return cases


class Ours:
    """The benchmark, which runs a case whenever it is asked to."""

    def __init__(self, executable, folder):
        command = [executable, "--serve", "--export", folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = json.loads(self.process.stdout.readline())
        self.threads, self.cases = hello["threads"], {case["name"]: case for case in hello["cases"]}

    def times(self, case):
        print(case, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def times(run, per=1, budget=0.25, least=2):
    """As the benchmark does it: one run to warm up, then runs within the budget."""
    run()
    times, begin = [], time.perf_counter()
    while len(times) < least or time.perf_counter() - begin < budget:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3 / per)
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("executable")
    parser.add_argument("folder")
    parser.add_argument("--filter", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json")
    arguments = parser.parse_args()

    ours = Ours(arguments.executable, arguments.folder)
    torch.set_num_threads(ours.threads)
    loss = dict(l1=1.0, l2=10.0, foreground=6.0, entropy=0.02, diversity=0.1, temperature=1.0, commitment=0.25)
    components = [
        Tokenizer(arguments.folder, loss),
        SoundStream(arguments.folder, strides=[2, 4, 5, 10]),
        Dit(arguments.folder, heads=4),
        Dit(arguments.folder, heads=4, name="dit bf16"),
        Sampling(arguments.folder, heads=4, name="dit sampling"),
        Lm(arguments.folder, heads=4),
        Lm(arguments.folder, heads=4, name="lm bf16"),
        Decoding(arguments.folder, heads=8, name="lm 26M"),
        Products(),
        Elementwise(arguments.folder),
    ]
    chosen = lambda case: any(part in case for part in arguments.filter.split(";"))
    eager, compiled = {}, {}
    for component in components:
        component.check()
        eager |= component.cases(lambda run: run)
        if arguments.compile:
            # Whole steps of training; elementwise operations are none.
            steps = component.cases(torch.compile).items() if not isinstance(component, Elementwise) else []
            compiled |= {case: run for case, run in steps if case.endswith("forward+backward")}
    print(f"Outputs, losses and gradients agree. {ours.threads} threads each, PyTorch {torch.__version__}.\n")

    found = {case: ([], [], []) for case in ours.cases if chosen(case)}
    for _ in range(arguments.rounds):
        for case, (a, b, c) in found.items():
            a += ours.times(case)
            # The threads of one go to sleep before the other starts.
            time.sleep(0.02)
            for runs, theirs in [(b, eager), (c, compiled)]:
                if case in theirs:
                    run = theirs[case]
                    runs += times(*run) if isinstance(run, tuple) else times(run)
                    time.sleep(0.02)

    limits = {}
    for case, (a, _, _) in found.items():
        if case.startswith("limit, "):
            limits[ours.cases[case]["unit"]] = ours.cases[case]["amount"] / statistics.median(a) / 1e6
            print(f"{case}: {limits[ours.cases[case]['unit']]:.1f} {ours.cases[case]['unit']}")
    head = ["path", "ours, ms", "PyTorch, ms", "ours/PyTorch", "Burn's own, ms", "speed", "share of the limit"]
    head += ["compiled, ms", "ours/compiled"] * arguments.compile
    print(f"\n| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}")
    table = {}
    for case, (a, b, c) in found.items():
        if case.endswith(", Burn's") or case.startswith(("limit, ", "scaling: ")):
            continue
        median = lambda times: statistics.median(times) if times else None
        text = lambda number, digits=2: "" if number is None else f"{number:.{digits}f}"
        over = lambda times: median(a) / median(times) if times else None
        burns = median(found.get(f"{case}, Burn's", [[]])[0])
        amount, unit = ours.cases[case]["amount"], ours.cases[case]["unit"]
        speed = amount / median(a) / 1e6 if amount else None
        row = [case, text(median(a)), text(median(b)), text(over(b)), text(burns)]
        row += [f"{speed:.0f} {unit}" if speed else "", text(speed / limits[unit]) if speed and unit in limits else ""]
        row += [text(median(c)), text(over(c))] * arguments.compile
        print(f"| {' | '.join(row)} |")
        table[case] = {"ours": median(a), "pytorch": median(b), "compiled": median(c)}
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"threads": ours.threads, "limits": limits, "milliseconds": table}, file, indent=2)


if __name__ == "__main__":
    main()
