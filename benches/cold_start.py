"""A clip from a prompt, from the start of a process to a file: the command, and the same in PyTorch, turn about.

    python cold_start.py MUSIVA WEIGHTS [--rounds N]

WEIGHTS is the folder of the trained weights. PyTorch's file holds the bare pixels, and it is given the prompt's tokens:
text and video formats cost it nothing.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time


def generate(weights, out):
    # Not at the top: to import them is part of the start.
    from reference import Lm, Tokenizer, np, torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    torch.manual_seed(0)
    # A prompt of 12 words and pads, and without; a clip of 5·8·8 tokens, 17 frames of 64·64 pixels.
    prompt = torch.zeros(2, 12)
    prompt[0, :6] = torch.tensor([5, 9, 12, 20, 31, 7])
    lm = Lm(weights, heads=4, name="text-to-video-lm", prompt=prompt, codes=torch.zeros(2, 320))
    tokenizer = Tokenizer(weights, None, name="tokenizer-video", clip=torch.zeros(17, 64, 64, 3))
    codes = []

    def choose(logits):
        logits = torch.from_numpy(logits)
        guided = logits[1] + 1.5 * (logits[0] - logits[1])
        codes.append(torch.multinomial((guided / 0.7).softmax(0), 1))
        return codes[-1].expand(2, 1)

    lm.decode(choose=choose)
    tokenizer.codes = torch.cat(codes).numpy()
    np.save(out, tokenizer.decode())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("musiva")
    parser.add_argument("weights")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", help="generate to this file, in PyTorch, and no more")
    arguments = parser.parse_args()
    if arguments.once:
        return generate(arguments.weights, arguments.once)
    with tempfile.TemporaryDirectory() as folder:
        recipe = os.path.join(arguments.weights, "..", "text-to-video-lm.toml")
        prompt = ["--prompt", "a red ring moves left"]
        commands = {
            "musiva": [arguments.musiva, "generate", recipe, *prompt, "--overwrite", "-o", f"{folder}/clip.mp4"],
            "PyTorch": [sys.executable, __file__, "", arguments.weights, "--once", f"{folder}/clip.npy"],
        }
        found = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                found[name].append(time.perf_counter() - start)
    ours, theirs = (statistics.median(times) for times in found.values())
    print(f"From a cold start to a file: musiva {ours:.2f} s, PyTorch {theirs:.2f} s, ours/PyTorch {ours / theirs:.3f}")


if __name__ == "__main__":
    main()
