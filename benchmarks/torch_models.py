"""The models in torch: the tutorial's translators, and our translator, batched.

Only imported where torch is wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from jaxseq.apps.text import EOS, PAD, SOS
from jaxseq.bench.timing import cores
from jaxseq.cells import GRUParams, gru, lstm
from jaxseq.interop.torch import to_arrays

torch.set_num_threads(cores())


def tensor(a: Any) -> torch.Tensor:
    """Return a copy of an array as a tensor."""
    return torch.from_numpy(np.array(a))


def fill(module: nn.Module, **values: Any) -> None:
    """Set parameters of a module by name."""
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name).copy_(tensor(value))


def fill_rnn(module: nn.Module, params: Any, suffix: str = "") -> None:
    """Set W, U and biases of a torch GRU, LSTM or their cells; our one bias is torch's first."""
    values = to_arrays(gru if isinstance(params, GRUParams) else lstm, params)
    fill(module, **{name.replace("_l0", suffix): value for name, value in values.items()})


def fill_affine(module: nn.Linear, params: Any) -> None:
    """Set a linear layer."""
    fill(module, weight=params.W.T, bias=params.b)


class Tutorial(nn.Module):
    """Both translators of the tutorial, a sentence at a time."""

    def __init__(self, source: int, target: int, hidden: int, length: int | None) -> None:
        """Take vocabulary sizes, H, and the positions that attention covers (None: no attention)."""
        super().__init__()
        self.length, self.hidden = length, hidden
        self.source, self.target = nn.Embedding(source, hidden), nn.Embedding(target, hidden)
        self.encoder, self.decoder = nn.GRU(hidden, hidden), nn.GRU(hidden, hidden)
        self.logits = nn.Linear(hidden, target)
        if length is not None:
            self.attention, self.combine = nn.Linear(2 * hidden, length), nn.Linear(2 * hidden, hidden)

    def load(self, params: Any) -> None:
        """Take over the params of `jaxseq.apps.tutorial`."""
        fill(self, **{"source.weight": params.source, "target.weight": params.target})
        fill_affine(self.logits, params.logits)
        fill_rnn(self.encoder, params.encoder, "_l0")
        if self.length is None:
            fill_rnn(self.decoder, params.decoder, "_l0")
            return
        own = params.decoder
        fill_rnn(self.decoder, own.gru, "_l0")
        fill_affine(self.attention, own.attention)
        fill(self.combine, weight=np.concatenate([own.W, own.C]).T, bias=own.b)

    def read(self, source: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the encoder's last state and all of its outputs."""
        state, outs = torch.zeros(1, 1, self.hidden), torch.zeros(self.length or 1, self.hidden)
        for position, word in enumerate(source):
            out, state = self.encoder(self.source(torch.tensor([[word]])), state)
            if self.length is not None:
                outs[position] = out[0, 0]
        return state, outs

    def write(self, fed: int, state: torch.Tensor, outs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log probabilities of the next word, and the state."""
        y = self.target(torch.tensor([[fed]]))
        if self.length is not None:
            y = F.dropout(y, 0.1, self.training)
            weights = F.softmax(self.attention(torch.cat([y[0], state[0]], 1)), dim=1)
            y = self.combine(torch.cat([y[0], weights @ outs], 1))[None]
        out, state = self.decoder(F.relu(y), state)
        return F.log_softmax(self.logits(out[0]), dim=1), state

    def forward(self, source: list[int], target: list[int], forced: bool) -> torch.Tensor:
        """Return the summed loss of one pair."""
        state, outs = self.read(source)
        fed, total = SOS, torch.zeros(())
        for word in target:
            log_p, state = self.write(fed, state, outs)
            total = total + F.nll_loss(log_p, torch.tensor([word]))
            fed = word if forced else int(log_p.argmax())
            if not forced and fed == EOS:
                break
        return total

    def translate(self, source: list[int], longest: int = 10) -> list[int]:
        """Return the likeliest words, one after another, up to and with EOS: the tutorial's `evaluate`."""
        with torch.no_grad():
            state, outs = self.read(source)
            fed, words = SOS, list[int]()
            for _ in range(longest):
                log_p, state = self.write(fed, state, outs)
                fed = int(log_p.topk(1)[1].item())
                words.append(fed)
                if fed == EOS:
                    break
        return words


class Translator(nn.Module):
    """Our default translator as usually written in torch: batched, padded, nn.GRU to encode, nn.GRUCell in a loop."""

    def __init__(self, source: int, target: int, embedding: int, hidden: int, dropout: float) -> None:
        """Take vocabulary sizes, E, H and the rate of dropout."""
        super().__init__()
        E, H = embedding, hidden
        self.rate = dropout
        self.source, self.target = nn.Embedding(source, E), nn.Embedding(target, E)
        self.encoder = nn.GRU(E, H, bidirectional=True)
        self.bridge = nn.Linear(2 * H, H)
        self.query, self.keys = nn.Linear(H, H, bias=False), nn.Linear(2 * H, H, bias=False)
        self.score = nn.Linear(H, 1, bias=False)
        self.decoder = nn.GRUCell(E + 2 * H, H)
        self.deep, self.logits = nn.Linear(3 * H + E, E), nn.Linear(E, target)

    def load(self, params: Any) -> None:
        """Take over the params of `jaxseq.seq2seq.translator`, with GRUs and one layer."""
        own = params.decoder
        fill(self, **{"source.weight": params.source, "target.weight": params.target})
        fill_rnn(self.encoder, params.encoder[0].forward, "_l0")
        fill_rnn(self.encoder, params.encoder[0].backward, "_l0_reverse")
        fill_affine(self.bridge, params.bridge.h)
        for module, weight in ((self.query, own.attention.W), (self.keys, own.attention.U)):
            fill(module, weight=weight.T)
        fill(self.score, weight=own.attention.v[None])
        fill_rnn(self.decoder, own.cell._replace(W=np.concatenate([own.cell.W, own.C])))
        fill_affine(self.deep, params.deep)
        fill_affine(self.logits, params.logits)

    def drop(self, a: torch.Tensor) -> torch.Tensor:
        """Apply dropout in training."""
        return F.dropout(a, self.rate, self.training)

    def forward(self, source: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits ``[T, B, V]``; products that do not depend on the state are outside the loop."""
        lengths = (source != PAD).sum(0)
        packed = nn.utils.rnn.pack_padded_sequence(self.drop(self.source(source)), lengths, enforce_sorted=False)
        outs, last = self.encoder(packed)
        values = nn.utils.rnn.pad_packed_sequence(outs, total_length=len(source))[0].transpose(0, 1).contiguous()
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], -1)))
        keys, padding = self.keys(values), (source == PAD).T
        ys, rows = self.drop(self.target(inputs)), []
        for y in ys:
            scores = self.score(torch.tanh(self.query(state)[:, None] + keys)).squeeze(-1)
            weights = torch.softmax(scores.masked_fill(padding, -torch.inf), dim=-1)
            context = torch.bmm(weights[:, None], values)[:, 0]
            state = self.decoder(torch.cat([y, context], -1), state)
            rows.append(torch.cat([state, context], -1))
        features = torch.tanh(self.deep(torch.cat([torch.stack(rows), ys], -1)))
        return self.logits(self.drop(features))

    def loss(self, source: torch.Tensor, target: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Return the mean loss over real tokens, teacher forced."""
        inputs = torch.cat([torch.full_like(target[:1], SOS), target[:-1]])
        logits = self(source, inputs).flatten(0, 1)
        return F.cross_entropy(logits, target.flatten(), ignore_index=PAD, label_smoothing=smoothing)
