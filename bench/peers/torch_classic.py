#!/usr/bin/env python3
"""The classic QLLK network in PyTorch, timed: the same equations, an Adam step, cross-entropy over every byte.

    bytes -> byte embedding -> mean over P of them -> h + tanh(h H)
          -> layers times:  a = h + q * cumsum(k * v) * sigmoid(g),   h = LN_b(W2 gelu(W1 LN_a(a)))
          -> projection to P * 256: one row of logits for each byte

Row t predicts byte t + 1 from bytes 0 ... t: the input is padded with P - 1 zero bytes on the left.

Prints one JSON object: bytes a second in training and forward (medians), and what it ran on.
"""
import argparse
import json
import os
import re
import statistics
import time

import torch
from torch import nn
from torch.nn import functional


class Layer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.qkvg = nn.Linear(dim, 4 * dim)  # one product instead of four
        self.norm_a, self.norm_b = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, h):
        q, k, v, gate = self.qkvg(h).chunk(4, dim=-1)
        a = h + q * torch.cumsum(k * v, dim=1) * torch.sigmoid(gate)
        return self.norm_b(self.down(functional.gelu(self.up(self.norm_a(a)))))


class Classic(nn.Module):
    def __init__(self, dim, layers, patch):
        super().__init__()
        self.patch = patch
        self.embedding = nn.Embedding(256, dim)
        self.shortcut = nn.Linear(dim, dim, bias=False)
        self.layers = nn.ModuleList(Layer(dim) for _ in range(layers))
        self.head = nn.Linear(dim, 256 * patch)

    def forward(self, data):
        batch, length = data.shape
        shifted = functional.pad(data, (self.patch - 1, 0))[:, :length]
        patches = shifted.reshape(-1, self.patch)
        h = functional.embedding_bag(patches, self.embedding.weight, mode="mean")
        h = h.reshape(batch, length // self.patch, -1)
        h = h + torch.tanh(self.shortcut(h))
        for layer in self.layers:
            h = layer(h)
        return self.head(h).reshape(batch, length, 256)


def seconds_each(step, budget):
    """Median over as many steps as the budget holds, three at least, after two to warm up."""
    for _ in range(2):
        step()
    times = []
    end = time.perf_counter() + budget
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def blas():
    """Folder of the BLAS that this process has loaded."""
    try:
        with open("/proc/self/maps") as maps:
            return next(iter(re.findall(r"/([^/\s]*blas[^/\s]*)/lib[^/\s]*blas[^/\s]*\.so", maps.read())), None)
    except OSError:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("batch", 16), ("context", 512), ("dim", 256), ("layers", 4), ("patch", 8)):
        parser.add_argument("--" + option, type=int, default=default)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=2.0, help="for each of training and forward")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model = Classic(args.dim, args.layers, args.patch)
    stream = torch.randint(0, 256, (args.batch, args.context + 1))
    data, targets = stream[:, :-1].contiguous(), stream[:, 1:].reshape(-1)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def train():
        adam.zero_grad(set_to_none=False)  # faster: new gradients are memory that the system has to hand out again
        functional.cross_entropy(model(data).reshape(-1, 256), targets).backward()
        adam.step()

    def forward():
        with torch.inference_mode():
            model(data)

    size = args.batch * args.context
    print(json.dumps({
        "train": size / seconds_each(train, args.seconds),
        "forward": size / seconds_each(forward, args.seconds),
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "blas": blas(),
        "core_type": os.environ.get("OPENBLAS_CORETYPE"),
    }))


if __name__ == "__main__":
    main()
