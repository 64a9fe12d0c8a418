"""Makes quantizers.json, the reference numbers for tests/quantizers.rs.

    pip install torch==2.11.0 vector-quantize-pytorch==1.32.0
    OMP_NUM_THREADS=1 python quantizers.py > quantizers.json

All on the CPU in single precision. Where the package and a paper differ, it says so at the line.
"""

import json

import torch
from vector_quantize_pytorch import FSQ, LFQ, ResidualVQ, VectorQuantize

torch.manual_seed(20260)
CASES = {}


def flat(tensor):
    """Values with what single precision needs to be told apart, and no more."""
    return [float(f"{value:.9g}") for value in tensor.detach().flatten().tolist()]


def case(name, **values):
    CASES[name] = {k: flat(v) if torch.is_tensor(v) else v for k, v in values.items()}


def gradient(z, loss):
    return torch.autograd.grad(loss, z, retain_graph=True)[0]


# Signs: `lfq` and, on the sphere, `bsq`. The package takes the entropy of a batch over the joint codes of all bits, also
# where BSQ has the factorised one. It takes no logarithm below 1e-5: temperatures are high enough that none is.
for name, spherical, temperature in [("lfq", False, 8.0), ("bsq", True, 1.0)]:
    bits, n = 7, 11
    z = torch.randn(1, n, bits, requires_grad=True)
    lfq = LFQ(dim=bits, codebook_size=2**bits, spherical=spherical, commitment_loss_weight=1.0, entropy_loss_weight=1.0)
    made, parts = lfq.train()(z, inv_temperature=1 / temperature, return_loss_breakdown=True)
    weight = torch.randn(1, n, bits)
    case(
        name,
        bits=bits,
        temperature=temperature,
        z=z,
        vectors=made.quantized,
        codes=made.indices.flatten().tolist(),
        commitment=parts.commitment.item(),
        single=parts.per_sample_entropy.item(),
        joint=parts.batch_entropy.item(),
        weight=weight,
        vectors_gradient=gradient(z, (made.quantized * weight).sum()),
        commitment_gradient=gradient(z, parts.commitment),
        single_gradient=gradient(z, parts.per_sample_entropy),
    )

# `fsq`. The package's bound differs from the listing of the paper (1 + eps for 1 - eps, atanh for tan), by up to 0.4 %
# of a step: latents are drawn again until they are 2 % of a step away from where the rounding changes.
levels, n = [8, 5, 7, 4], 41
fsq = FSQ(levels)
z = torch.randn(1, n, len(levels))
while True:
    half_l = (torch.tensor(levels) - 1) * (1 - 1e-3) / 2
    offset = torch.tensor([0.5 if level % 2 == 0 else 0.0 for level in levels])
    bounded = torch.tanh(z + torch.tan(offset / half_l)) * half_l - offset
    edge = ((bounded - bounded.floor()) - 0.5).abs() < 0.02
    if not edge.any():
        break
    z = torch.where(edge, torch.randn_like(z), z)
vectors, codes = fsq(z)
case("fsq", levels=levels, z=z, vectors=vectors, codes=codes.flatten().tolist())

# `vq`: one batch quantized by fixed entries, then the entries after each of two batches. The package counts and smooths the
# counts; with eps=0 its averages are ours times the size of the batch.
for name, cosine in [("vq_euclidean", False), ("vq_cosine", True)]:
    entries, channels, n, decay = 13, 5, 17, 0.9
    vq = VectorQuantize(
        dim=channels,
        codebook_size=entries,
        decay=decay,
        eps=0.0,
        commitment_weight=1.0,
        use_cosine_sim=cosine,
        threshold_ema_dead_code=0,
        rotation_trick=False,
    )
    book = vq._codebook
    start = torch.randn(entries, channels)
    if cosine:
        start = torch.nn.functional.normalize(start, dim=-1)
    book.embed.data.copy_(start[None])
    book.embed_avg.data.copy_(start[None])
    book.cluster_size.data.fill_(1.0)
    batches = [torch.randn(1, n, channels, requires_grad=True) for _ in range(2)]
    steps = []
    for z in batches:
        weight = torch.randn(1, n, channels)
        vectors, codes, commitment = vq.train()(z)
        steps.append(
            dict(
                z=flat(z),
                vectors=flat(vectors),
                codes=codes.flatten().tolist(),
                commitment=commitment.item(),
                weight=flat(weight),
                vectors_gradient=flat(gradient(z, (vectors * weight).sum())),
                commitment_gradient=flat(gradient(z, commitment.sum())),
                entries_after=flat(book.embed),
            )
        )
    case(name, entries=entries, channels=channels, n=n, decay=decay, start=start, steps=steps)

# `rvq`: the package's losses are one a level, ours is their sum. Its gradient is the identity once a level, ours once.
levels, entries, channels, n, decay = 4, 11, 5, 19, 0.8
rvq = ResidualVQ(
    dim=channels,
    num_quantizers=levels,
    codebook_size=entries,
    decay=decay,
    eps=0.0,
    commitment_weight=1.0,
    threshold_ema_dead_code=0,
    rotation_trick=False,
)
starts = torch.stack([torch.randn(entries, channels) * 0.7**level for level in range(levels)])
for start, layer in zip(starts, rvq.layers):
    layer._codebook.embed.data.copy_(start[None])
    layer._codebook.embed_avg.data.copy_(start[None])
    layer._codebook.cluster_size.data.fill_(1.0)
steps = []
for _ in range(2):
    z = torch.randn(1, n, channels, requires_grad=True)
    vectors, codes, losses = rvq.train()(z)
    steps.append(
        dict(
            z=flat(z),
            vectors=flat(vectors),
            codes=codes.flatten().tolist(),
            commitment=losses.sum().item(),
            commitment_gradient=flat(gradient(z, losses.sum())),
            entries_after=flat(torch.cat([layer._codebook.embed for layer in rvq.layers])),
        )
    )
case("rvq", levels=levels, entries=entries, channels=channels, n=n, decay=decay, start=starts, steps=steps)

print(json.dumps(CASES))
