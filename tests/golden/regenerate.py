#!/usr/bin/env python3
"""Writes the golden values that tests/model/classic_test.cpp compares with, by PyTorch, beside this file.

    /usr/bin/python3 tests/golden/regenerate.py        (Debian 12: python3-torch 1.13)

classic_checkpoint.safetensors  the parameters, F32, as a checkpoint of the original PyTorch code holds them
classic_expected.safetensors    the bytes (U8) and, in F64, what PyTorch makes of them in double precision: logits,
                                loss, every gradient, every parameter after 10 steps of Adam

The network, row t of whose logits predicts byte t+1 from bytes 0..t:

    x_t   = E[b_t], and E[0] for the P-1 positions before the first
    m_p   = mean of x over positions P*p-(P-1) .. P*p
    h_p   = m_p + tanh(m_p H)
    layer   a = h + q * (running sum of k * v) * sigmoid(g)          q, k, v, g: affine maps of h
            h = LayerNorm_5(W_4 gelu(W_2 LayerNorm_1(a) + b_2) + b_4)
    logits of rows P*p .. P*p+P-1 = the P slices of W h_p + b
"""
import json
import pathlib
import struct

import numpy
import torch

DIM, LAYERS, PATCH, BATCH, LENGTH = 16, 2, 4, 2, 24
GROUP = 16  # see `digest`


def parameters():
    """Random ones, away from what they are initialised to, exact in float32."""
    torch.manual_seed(20)

    def normal(*shape, scale, about=0.0):
        return (about + scale * torch.randn(*shape, dtype=torch.float64)).float().double()

    p = {"byte_embedding.weight": normal(256, DIM, scale=1.0), "hash_proj": normal(DIM, DIM, scale=0.2)}

    def affine(name, rows, cols):
        p[name + ".weight"] = normal(rows, cols, scale=cols**-0.5)
        p[name + ".bias"] = normal(rows, scale=0.3)

    for i in range(LAYERS):
        for part in ("q_proj", "k_proj", "v_proj", "gate"):
            affine(f"layers.{i}.0.{part}", DIM, DIM)
        for norm in ("1", "5"):
            p[f"layers.{i}.{norm}.weight"] = normal(DIM, scale=0.2, about=1.0)
            p[f"layers.{i}.{norm}.bias"] = normal(DIM, scale=0.2)
        affine(f"layers.{i}.2", 2 * DIM, DIM)
        affine(f"layers.{i}.4", DIM, 2 * DIM)
    affine("decoder_head", 256 * PATCH, DIM)
    return p


def network(p, inputs):
    def affine(x, name):
        return x @ p[name + ".weight"].T + p[name + ".bias"]

    def layer_norm(x, name):
        return torch.nn.functional.layer_norm(x, (DIM,), p[name + ".weight"], p[name + ".bias"], eps=1e-5)

    batch, length = inputs.shape
    shifted = torch.cat([torch.zeros(batch, PATCH - 1, dtype=torch.long), inputs], dim=1)[:, :length]
    h = p["byte_embedding.weight"][shifted].view(batch, length // PATCH, PATCH, DIM).mean(dim=2)
    h = h + torch.tanh(h @ p["hash_proj"])
    for i in range(LAYERS):
        at = f"layers.{i}."
        memory = (affine(h, at + "0.k_proj") * affine(h, at + "0.v_proj")).cumsum(dim=1)
        a = h + affine(h, at + "0.q_proj") * memory * torch.sigmoid(affine(h, at + "0.gate"))
        wide = torch.nn.functional.gelu(affine(layer_norm(a, at + "1"), at + "2"))
        h = layer_norm(affine(wide, at + "4"), at + "5")
    return affine(h, "decoder_head").view(batch * length, 256)


def digest(tensor):
    """Row-major values; of tensors of more than 256, each run of 16 is summed with weights 1, 17/16, ... 31/16.

    Every value takes part, and a wrong one shows, in a sixteenth of the space.
    """
    flat = tensor.detach().numpy().reshape(-1)
    if flat.size > 256:
        flat = flat.reshape(-1, GROUP) @ (1 + numpy.arange(GROUP) / GROUP)
    return numpy.array(flat, dtype=numpy.float64)


def write(name, tensors):
    """The safetensors format: https://github.com/huggingface/safetensors#format"""
    kinds = {"float64": "F64", "float32": "F32", "uint8": "U8"}
    header, data = {}, b""
    for key, value in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        header[key] = {"dtype": kinds[value.dtype.name], "shape": list(value.shape),
                       "data_offsets": [len(data), len(data) + value.nbytes]}
        data += numpy.ascontiguousarray(value).tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = pathlib.Path(__file__).resolve().parent / name
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    print(name, path.stat().st_size, "bytes")


def main():
    torch.set_num_threads(1)
    p = parameters()
    write("classic_checkpoint.safetensors", {name: value.float().numpy() for name, value in p.items()})
    for value in p.values():
        value.requires_grad_()
    stream = torch.randint(0, 256, (BATCH, LENGTH + 1))
    stream[:, ::3] = stream[:, :1]  # some bytes occur often
    inputs, targets = stream[:, :-1], stream[:, 1:].reshape(-1)

    def loss():
        return torch.nn.functional.cross_entropy(network(p, inputs), targets)  # the mean over positions

    first = loss()
    first.backward()
    expected = {
        "inputs": inputs.reshape(-1).numpy().astype(numpy.uint8),
        "targets": targets.numpy().astype(numpy.uint8),
        "logits": digest(network(p, inputs)),
        "loss": numpy.array([first.item()]),
    }
    expected.update({"grad." + name: digest(value.grad) for name, value in p.items()})
    adam = torch.optim.Adam(p.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    for _ in range(10):
        adam.zero_grad()
        loss().backward()
        adam.step()
    expected["loss_after"] = numpy.array([loss().item()])
    expected.update({"after." + name: digest(value) for name, value in p.items()})
    write("classic_expected.safetensors", expected)


if __name__ == "__main__":
    main()
