"""QLLK's two models as PyTorch modules: the same tensors by the same names, the same logits.

    model = load("model.safetensors")                    # classic or default, by the file
    logits = model(torch.tensor([list(b"Once upon")]))   # [sequences, length, 256]; position t predicts byte t + 1
    save("tuned.safetensors", model)                     # a file for QLLK's tools

Plain PyTorch, written for reading: features of the bytes are found in Python loops, recurrences go position by position.
A call reads a stream from its beginning, of any length; there is no state between calls. Gradients are PyTorch's own.
"""
import json

import numpy
import torch
from torch import nn
from torch.nn import functional

import safetensors_file
import stream_features


def load(path):
    """The module of a model file, in evaluation mode. Raises ValueError that names the file where it cannot be used."""
    tensors, metadata = safetensors_file.read(path)
    if metadata.get("format") != "qllk":
        raise ValueError(f"'{path}' is not a model file of QLLK")
    if metadata.get("arch") not in ARCHITECTURES:
        known = " or ".join(ARCHITECTURES)
        raise ValueError(f"'{path}' has the architecture {metadata.get('arch')!r}, expected {known}")
    try:
        model = ARCHITECTURES[metadata["arch"]](json.loads(metadata["config"]))
        copies = {name: torch.from_numpy(numpy.array(value, numpy.float32)) for name, value in tensors.items()}
        model.load_state_dict(copies)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"'{path}' cannot be used: {error}") from None
    return model.eval()


def save(path, model):
    """Writes a model file. Cost: 0.6 µs a number."""
    metadata = {"format": "qllk", "version": "1", "arch": model.arch, "config": json.dumps(model.config)}
    safetensors_file.write(path, {name: t.detach().cpu().numpy() for name, t in model.state_dict().items()}, metadata)


def padded_patches(x, patch):
    """Patch p covers positions P·p-(P-1) … P·p of x [B, T, …], zeros before the first. Returns [B, ceil(T/P), P, …]."""
    count = -(-x.shape[1] // patch)
    padding = x.new_zeros(x.shape[0], patch - 1, *x.shape[2:])
    return torch.cat([padding, x], 1)[:, :count * patch].reshape(x.shape[0], count, patch, *x.shape[2:])


class LatentKernel(nn.Module):
    """S_t = a_t S_{t-1} + (1 - a_t) k_t v_tᵀ, or S_{t-1} + k_t v_tᵀ without decay

    y_t = W_o (norm(S_tᵀ q_t) ⊙ sigmoid(g_t)) + b_o
    """

    def __init__(self, dim, head_dim=1, decay="none", normalise=False, project=False):
        super().__init__()
        self.heads, self.head_dim = dim // head_dim, head_dim
        for name in ("q_proj", "k_proj", "v_proj", "gate"):
            setattr(self, name, nn.Linear(dim, dim))
        if decay != "none":
            self.decay = nn.Module()
            self.decay.bias = nn.Parameter(torch.zeros(self.heads))
        if decay == "data_dependent":
            self.decay.weight = nn.Parameter(torch.zeros(self.heads, dim))
        if normalise:
            self.norm = nn.LayerNorm(dim)
        if project:
            self.out_proj = nn.Linear(dim, dim)

    def rate(self, x):
        """a_t for each head: [B, T, heads], or None."""
        if not hasattr(self, "decay"):
            return None
        if hasattr(self.decay, "weight"):
            return torch.sigmoid(functional.linear(x, self.decay.weight, self.decay.bias))
        return torch.sigmoid(self.decay.bias).expand(*x.shape[:2], -1)

    def forward(self, x):
        def by_head(y):
            return y.unflatten(-1, (self.heads, self.head_dim))

        q, k, v, rate = by_head(self.q_proj(x)), by_head(self.k_proj(x)), by_head(self.v_proj(x)), self.rate(x)
        memory = x.new_zeros(x.shape[0], self.heads, self.head_dim, self.head_dim)
        answers = []
        for t in range(x.shape[1]):
            outer = k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
            memory = memory + outer if rate is None else outer + rate[:, t, :, None, None] * (memory - outer)
            answers.append((q[:, t].unsqueeze(-2) @ memory).squeeze(-2).flatten(1))
        u = torch.stack(answers, 1) if answers else torch.zeros_like(x)
        if hasattr(self, "norm"):
            u = self.norm(u)
        y = u * torch.sigmoid(self.gate(x))
        return self.out_proj(y) if hasattr(self, "out_proj") else y


class Classic(nn.Module):
    """The original network, made causal (include/qllk/model/classic.hpp)."""

    arch = "classic"

    def __init__(self, config):
        super().__init__()
        self.config, dim = config, config["dim"]
        self.byte_embedding = nn.Embedding(256, dim)
        self.hash_proj = nn.Parameter(torch.zeros(dim, dim))
        self.layers = nn.ModuleList(
            nn.Sequential(LatentKernel(dim), nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(),
                          nn.Linear(2 * dim, dim), nn.LayerNorm(dim)) for _ in range(config["layers"]))
        self.decoder_head = nn.Linear(dim, 256 * config["patch"])

    def forward(self, data):
        patches = padded_patches(data, self.config["patch"])  # the bytes before the first are 0
        h = self.byte_embedding(patches).mean(2)
        h = h + torch.tanh(h @ self.hash_proj)
        for layer in self.layers:
            h = layer[1:](h + layer[0](h))
        return self.decoder_head(h).reshape(data.shape[0], -1, 256)[:, :data.shape[1]]


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.down(functional.gelu(self.up(x)))


class Block(nn.Module):
    """m = x + mixer(LN(x)),  y = m + mlp(LN(m))"""

    def __init__(self, dim, hidden, mixer):
        super().__init__()
        settings = {"head_dim": 1, **mixer}
        if (name := settings.pop("name", "latent")) != "latent":
            raise ValueError(f"the mixer is '{name}', expected 'latent': others have no PyTorch module here")
        self.mixer_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mixer = LatentKernel(dim, **settings)
        self.mlp = Mlp(dim, hidden * dim)

    def forward(self, x):
        m = x + self.mixer(self.mixer_norm(x))
        return m + self.mlp(self.mlp_norm(m))


class FeatureHashing(nn.Module):
    """Adds to each position the rows of the table that its n-grams, words and matches have."""

    def __init__(self, config):
        super().__init__()
        self.orders, self.words, self.bits = config["orders"], config.get("words", 0), config["bits"]
        match = config.get("match", {})
        self.lengths = match.get("lengths", [])
        self.matches = stream_features.Matches(self.lengths, match.get("window_bits", 16))
        self.first_match = (self.orders - 1 + self.words) << self.bits
        self.table = nn.Parameter(torch.zeros(self.first_match + 4096 * len(self.lengths), config["dim_local"]))

    def look_up(self, data):
        """Rows of the table and signs of every order of one stream, the matches last: [n, orders]. Sign 0: no row."""
        parts = [stream_features.ngrams(data, self.orders, self.bits)]
        if self.words > 0:
            rows, signs = stream_features.words(data, self.words, self.bits)
            parts.append((rows + ((self.orders - 1) << self.bits), signs))
        rows = self.matches.rows(data)
        parts.append((numpy.maximum(rows + self.first_match, 0), (rows != stream_features.NONE).astype(numpy.int64)))
        return numpy.concatenate([p[0] for p in parts], 1), numpy.concatenate([p[1] for p in parts], 1)

    def forward(self, data):
        """Returns what is added [B, T, dim], and rows and signs of the matches [B, T, orders]."""
        found = [self.look_up(stream.cpu().numpy().astype(numpy.uint8)) for stream in data]
        rows = torch.from_numpy(numpy.stack([f[0] for f in found])).to(data.device)
        signs = torch.from_numpy(numpy.stack([f[1] for f in found])).to(data.device)
        total = self.table.new_zeros(*data.shape, self.table.shape[1])
        for i in range(rows.shape[2]):
            total = total + self.table[rows[:, :, i]] * signs[:, :, i, None]
        first = rows.shape[2] - len(self.lengths)
        return total, rows[:, :, first:], signs[:, :, first:]


class Recency(nn.Module):
    """z'[b] = z[b] + 4 w[ age(b) ] + 4 Σ_c v[ c, rank_c(b), age_c(b) ]"""

    def __init__(self, bits):
        super().__init__()
        self.features = stream_features.Recency(bits)
        self.anywhere = nn.Parameter(torch.zeros(17))
        self.in_context = nn.Parameter(torch.zeros(16 * 3 * 3))

    def forward(self, data):
        biases = []
        for stream in data.cpu().numpy().astype(numpy.uint8):
            bias = self.anywhere[torch.from_numpy(self.features.ages(stream)).to(data.device)]
            entries = numpy.ascontiguousarray(self.features.entries(stream))
            position, byte, weight = torch.from_numpy(entries).to(data.device)
            biases.append(bias.index_put((position, byte), self.in_context[weight], accumulate=True))
        return 4 * torch.stack(biases)


class CopyLogits(nn.Module):
    """What a match predicts: w is added to its logit where its row is trained, else e^v is mixed into the probabilities."""

    def __init__(self, orders):
        super().__init__()
        self.weight, self.log_odds = nn.Parameter(torch.zeros(16 * orders)), nn.Parameter(torch.zeros(16 * orders))

    def forward(self, z, table, rows, signs, first_row):
        trained = (table[:, 0] != 0)[rows] & (signs != 0)
        fresh = ~trained & (signs != 0)
        number = (rows - first_row).clamp(min=0)
        byte, bucket = number % 256, number // 256
        z = z.scatter_add(2, byte, torch.where(trained, self.weight[bucket], z.new_zeros(())))
        mass = torch.zeros_like(z).scatter_add(
            2, byte, torch.where(fresh, torch.exp(self.log_odds[bucket]), z.new_zeros(())))
        mixed = torch.logsumexp(z, 2, keepdim=True) + torch.log(torch.softmax(z, 2) + mass)
        return torch.where(mass > 0, mixed, z)


class Default(nn.Module):
    """QLLKTransformer (include/qllk/model/transformer.hpp) with latent mixers."""

    arch = "default"

    def __init__(self, config):
        super().__init__()
        self.config, self.patch, local, dim = config, config["patch"], config["dim_local"], config["dim"]

        def stack(width, count, mixers):
            mixers = mixers if isinstance(mixers, list) else [mixers]
            return nn.ModuleList(Block(width, config["hidden"], mixers[i % len(mixers)]) for i in range(count))

        self.embedding = nn.Embedding(256, local)
        self.hashing = FeatureHashing(config)
        self.encoder = stack(local, config["encoder"], config["mixer_local"])
        self.patching = nn.Linear(local * self.patch, dim)
        self.blocks = stack(dim, config["layers"], config["mixer"])
        self.patch_norm = nn.LayerNorm(dim)
        self.unpatching = nn.Linear(dim, local * self.patch)
        self.decoder = stack(local, config["decoder"], config["mixer_local"])
        self.norm = nn.LayerNorm(local)
        self.head = nn.Linear(local, 256)
        # Parts that a configuration may leave out have no tensors in its file.
        self.copy = CopyLogits(len(self.hashing.lengths)) if self.hashing.lengths else None
        self.recency = Recency(config["recency"]) if config.get("recency", 0) > 0 else None
        if self.hashing.table.numel() == 0:
            self.hashing._parameters.clear()
            self.hashing.register_buffer("table", torch.zeros(0, local), persistent=False)

    def forward(self, data):
        """data: int64 [B, T], values 0 to 255. Returns logits [B, T, 256]."""
        features, rows, signs = self.hashing(data)
        x = self.embedding(data) + features
        for block in self.encoder:
            x = block(x)
        h = self.patching(padded_patches(x, self.patch).flatten(2))
        for block in self.blocks:
            h = block(h)
        slots = self.unpatching(self.patch_norm(h))
        x = x + slots.reshape(x.shape[0], -1, x.shape[2])[:, :x.shape[1]]
        for block in self.decoder:
            x = block(x)
        z = self.head(self.norm(x))
        if self.recency is not None:
            z = z + self.recency(data)
        if self.copy is not None:
            z = self.copy(z, self.hashing.table, rows, signs, self.hashing.first_match)
        return z


ARCHITECTURES = {"classic": Classic, "default": Default}
