"""Attention and whole encoder-decoders against torch modules written here: loss and every gradient, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from agreement import agree
from torch import nn
from torch.nn import functional as F

from jaxseq import losses
from jaxseq._layers import Bidirectional
from jaxseq.apps.tutorial import AttentiveCellParams, AttentiveParams, PlainParams, attentive, plain
from jaxseq.attention import AdditiveParams, AttentionCellParams, PositionalParams, additive
from jaxseq.cells import GRUCarry, GRUParams, LSTMCarry, LSTMParams, gru, lstm
from jaxseq.seq2seq import Affine, Bias, FeedingParams, TranslatorParams, translator

PAD, EOS, SOS = 0, 1, 2


def numpy(tensor: torch.Tensor) -> jnp.ndarray:
    return jnp.asarray(tensor.detach().numpy())


def rnn_params(module, suffix: str = "", read=numpy):
    """Read W, U and biases of a torch GRU, LSTM or one of their cells; or, with another `read`, their gradients.

    torch has two biases where one would do: our b is their sum, its gradient that of either.
    """
    names = [f"{name}{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    W, U, b_ih, b_hh = (read(getattr(module, name)) for name in names)
    H = U.shape[1]
    more = jnp.zeros_like(b_hh) if read is gradient else b_hh
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        return LSTMParams(W.T, U.T, b_ih + more)
    return GRUParams(W.T, U.T, b_ih + more.at[2 * H :].set(0), b_hh[2 * H :])


def affine_params(module: nn.Linear, read=numpy) -> Affine:
    return Affine(read(module.weight).T, read(module.bias))


def gradient(tensor: torch.Tensor) -> jnp.ndarray:
    return jnp.zeros(tensor.shape) if tensor.grad is None else jnp.asarray(tensor.grad.numpy())


def compare(loss, params, want_loss: torch.Tensor, want_grads) -> None:
    value, grads = jax.value_and_grad(loss)(params)
    agree(value, want_loss.detach(), "loss")
    for (path, got), want in zip(jax.tree.leaves_with_path(grads), jax.tree.leaves(want_grads), strict=True):
        agree(got, want, f"gradient of {jax.tree_util.keystr(path)}")
        assert np.abs(want).max() > 0, f"no gradient reaches {jax.tree_util.keystr(path)}: nothing is tested"


# --- Bahdanau attention ----------------------------------------------------------------------------------------------


class Bahdanau(nn.Module):
    """Scores by addition; rows are sentences, padding gets no weight."""

    def __init__(self, query: int, values: int, units: int) -> None:
        super().__init__()
        self.W = nn.Linear(query, units, bias=False)
        self.U = nn.Linear(values, units, bias=False)
        self.v = nn.Linear(units, 1, bias=False)

    def forward(self, query, values, mask):
        scores = self.v(torch.tanh(self.W(query)[:, None] + self.U(values))).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
        return torch.einsum("bs,bsk->bk", weights, values), weights


def attention_params(module: Bahdanau, read=numpy) -> AdditiveParams:
    return AdditiveParams(read(module.W.weight).T, read(module.U.weight).T, read(module.v.weight)[0])


def test_additive_attention() -> None:
    torch.manual_seed(0)
    S, B, Q, K, A = 6, 3, 4, 5, 7
    module = Bahdanau(Q, K, A).double()
    query, values = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((B, Q), (B, S, K)))
    mask = torch.arange(S)[None] < torch.tensor([6, 1, 3])[:, None]
    context, weights = module(query, values, mask)
    (torch.sin(context).sum() + (weights**2).sum()).backward()

    def ours(params, query, values):
        memory = additive.remember(params, values.swapaxes(0, 1), numpy(mask).T)
        _, (context, weights) = additive.attend(params, memory, (), query)
        return jnp.sin(context).sum() + (weights**2).sum(), (context, weights)

    arguments = attention_params(module), numpy(query), numpy(values)
    grads, (got_context, got_weights) = jax.grad(ours, argnums=(0, 1, 2), has_aux=True)(*arguments)
    agree(got_context, context.detach(), "context")
    agree(got_weights, weights.detach(), "weights")
    want = attention_params(module, gradient), gradient(query), gradient(values)
    for name, g, w in zip(
        ["W", "U", "v", "query", "values"], jax.tree.leaves(grads), jax.tree.leaves(want), strict=True
    ):
        agree(g, w, f"gradient of {name}")


# --- the default translator ------------------------------------------------------------------------------------------


class Translator(nn.Module):
    """The encoder-decoder of Bahdanau et al. 2015 as `jaxseq.seq2seq.translator` describes it, from torch's parts."""

    def __init__(self, kind: str, Vs: int, Vt: int, E: int, H: int, layers: int) -> None:
        super().__init__()
        self.lstm = kind == "lstm"
        whole, cell = (nn.LSTM, nn.LSTMCell) if self.lstm else (nn.GRU, nn.GRUCell)
        self.source, self.target = nn.Embedding(Vs, E), nn.Embedding(Vt, E)
        self.encoder = whole(E, H, num_layers=layers, bidirectional=True)
        self.bridge = nn.ModuleList(nn.Linear(2 * H, H) for _ in range(1 + self.lstm))
        self.attention = Bahdanau(H, 2 * H, H)
        self.decoder = cell(E + 2 * H, H)
        self.deep = nn.Linear(3 * H + E, E)
        self.logits = nn.Linear(E, Vt)

    def forward(self, source, lengths, inputs, forced=None):
        packed = nn.utils.rnn.pack_padded_sequence(self.source(source), lengths, enforce_sorted=False)
        outs, last = self.encoder(packed)
        values = nn.utils.rnn.pad_packed_sequence(outs, batch_first=True, total_length=len(source))[0]
        last = last if self.lstm else (last,)
        state = [torch.tanh(b(torch.cat([a[-2], a[-1]], -1))) for b, a in zip(self.bridge, last, strict=True)]
        mask = torch.arange(len(source))[None] < lengths[:, None]
        previous, rows, seen = inputs[0], [], []
        for t in range(len(inputs)):
            fed = inputs[t] if forced is None or t == 0 else torch.where(forced[t], inputs[t], previous)
            y = self.target(fed)
            context, weights = self.attention(state[0], values, mask)
            x = torch.cat([y, context], -1)
            state = list(self.decoder(x, tuple(state))) if self.lstm else [self.decoder(x, state[0])]
            logits = self.logits(torch.tanh(self.deep(torch.cat([state[0], context, y], -1))))
            previous = logits.argmax(-1)
            rows.append(logits)
            seen.append(weights)
        return torch.stack(rows), torch.stack(seen)


def translator_params(m: Translator, layers: int, read=numpy) -> TranslatorParams:
    carry = LSTMCarry if m.lstm else GRUCarry
    E = m.target.embedding_dim
    cell = rnn_params(m.decoder, read=read)
    own = cell._replace(W=cell.W[:E])
    return TranslatorParams(
        source=read(m.source.weight),
        target=read(m.target.weight),
        encoder=tuple(
            Bidirectional(rnn_params(m.encoder, f"_l{n}", read), rnn_params(m.encoder, f"_l{n}_reverse", read))
            for n in range(layers)
        ),
        bridge=carry(*(affine_params(b, read) for b in m.bridge)),
        decoder=AttentionCellParams(own, attention_params(m.attention, read), cell.W[E:]),
        deep=affine_params(m.deep, read),
        logits=affine_params(m.logits, read),
    )


def a_batch(seed: int, S: int = 6, T: int = 5, B: int = 4, Vs: int = 11, Vt: int = 9):
    rng = np.random.default_rng(seed)
    source_lengths, target_lengths = np.array([6, 1, 4, 3]), np.array([5, 2, 1, 4])
    source, target = rng.integers(3, Vs, (S, B)), rng.integers(3, Vt, (T, B))
    for b in range(B):
        source[source_lengths[b] - 1 :, b], target[target_lengths[b] - 1 :, b] = PAD, PAD
        source[source_lengths[b] - 1, b], target[target_lengths[b] - 1, b] = EOS, EOS
    inputs = np.concatenate([np.full((1, B), SOS), target[:-1]])
    return source, source_lengths, inputs, target


@pytest.mark.parametrize("forcing", ["teacher", "scheduled"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", [gru, lstm], ids=lambda cell: cell.name)
def test_translator(cell, layers: int, forcing: str) -> None:
    torch.manual_seed(0)
    Vs, Vt, E, H = 11, 9, 5, 4
    module = Translator(cell.name, Vs, Vt, E, H, layers).double()
    source, lengths, inputs, target = a_batch(0)
    forced = None if forcing == "teacher" else np.random.default_rng(1).random(target.shape) < 0.5
    tensors = torch.tensor(source), torch.tensor(lengths), torch.tensor(inputs)
    want_logits, want_weights = module(*tensors, None if forced is None else torch.tensor(forced))
    want = F.cross_entropy(want_logits.flatten(0, 1), torch.tensor(target).flatten(), ignore_index=PAD)
    want.backward()

    model = translator(cell, additive, layers, dropout=0.0)
    params = translator_params(module, layers)
    free = None if forced is None else jnp.asarray(forced)

    def run(params):
        encoded = model.encode(params, jnp.asarray(source), jnp.asarray(source != PAD))
        return model.decode(params, encoded, jnp.asarray(inputs), free)

    def loss(params):
        _, (logits, _) = run(params)
        return losses.masked_mean(losses.cross_entropy(logits, jnp.asarray(target)), jnp.asarray(target != PAD))

    _, (logits, weights) = run(params)
    agree(logits, want_logits.detach(), "logits")
    agree(weights, want_weights.detach(), "attention weights")
    compare(loss, params, want, translator_params(module, layers, gradient))


# --- a decoder in layers, with input feeding and tied embeddings ------------------------------------------------------


class Layered(nn.Module):
    """Two GRU layers to encode, three to decode: attention below, residual above, features fed back, one matrix."""

    def __init__(self, Vs: int, Vt: int, E: int, H: int) -> None:
        super().__init__()
        self.E, self.H = E, H
        self.source, self.target = nn.Embedding(Vs, E), nn.Embedding(Vt, E)
        self.encoder = nn.ModuleList(nn.GRU(D, H, bidirectional=True) for D in (E, 2 * H))
        self.bridge = nn.ModuleList(nn.Linear(2 * H, H) for _ in range(3))
        self.attention = Bahdanau(H, 2 * H, H)
        self.decoder = nn.ModuleList(nn.GRUCell(D, H) for D in (E + 2 * H + E, 3 * H, H))
        self.deep = nn.Linear(3 * H + E, E)
        self.bias = nn.Parameter(torch.randn(Vt))

    def forward(self, source, lengths, inputs):
        xs = self.source(source)
        for n, layer in enumerate(self.encoder):
            packed = nn.utils.rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False)
            outs, last = layer(packed)
            outs = nn.utils.rnn.pad_packed_sequence(outs, total_length=len(source))[0]
            xs = outs + xs if n else outs
        values, last = xs.transpose(0, 1), torch.cat([last[0], last[1]], -1)
        mask = torch.arange(len(source))[None] < lengths[:, None]
        states, fed, rows = [torch.tanh(b(last)) for b in self.bridge], torch.zeros(len(last), self.E).double(), []
        for tokens in inputs:
            y = self.target(tokens) * 0.1 * self.E**0.5
            context, _ = self.attention(states[0], values, mask)
            states[0] = self.decoder[0](torch.cat([y, context, fed], -1), states[0])
            states[1] = self.decoder[1](torch.cat([states[0], context], -1), states[1])
            out = states[1] + states[0]
            states[2] = self.decoder[2](out, states[2])
            out = states[2] + out
            fed = torch.tanh(self.deep(torch.cat([out, context, y], -1)))
            rows.append(fed @ self.target.weight.T + self.bias)
        return torch.stack(rows)


def layered_params(m: Layered, read=numpy) -> TranslatorParams:
    E, H = m.E, m.H
    low = rnn_params(m.decoder[0], read=read)
    y, context, fed = low.W[:E], low.W[E : E + 2 * H], low.W[E + 2 * H :]
    reader = AttentionCellParams(low._replace(W=y), attention_params(m.attention, read), context)
    above = (rnn_params(layer, read=read) for layer in m.decoder[1:])
    return TranslatorParams(
        source=read(m.source.weight),
        target=read(m.target.weight),
        encoder=tuple(
            Bidirectional(rnn_params(layer, "_l0", read), rnn_params(layer, "_l0_reverse", read)) for layer in m.encoder
        ),
        bridge=tuple(GRUCarry(affine_params(b, read)) for b in m.bridge),
        decoder=FeedingParams((reader, *above), fed, affine_params(m.deep, read)),
        deep=None,
        logits=Bias(read(m.bias)),
    )


def test_layers_of_the_decoder_with_input_feeding_and_tied_embeddings() -> None:
    torch.manual_seed(0)
    Vs, Vt, E, H = 11, 9, 5, 4
    module = Layered(Vs, Vt, E, H).double()
    source, lengths, inputs, target = a_batch(0)
    want_logits = module(torch.tensor(source), torch.tensor(lengths), torch.tensor(inputs))
    want = F.cross_entropy(want_logits.flatten(0, 1), torch.tensor(target).flatten(), ignore_index=PAD)
    want.backward()
    model = translator(gru, additive, 2, decoder_layers=3, residual=True, tie="target", input_feeding=True)

    def run(params):
        encoded = model.encode(params, jnp.asarray(source), jnp.asarray(source != PAD))
        return model.decode(params, encoded, jnp.asarray(inputs))[1][0]

    def loss(params):
        return losses.masked_mean(losses.cross_entropy(run(params), jnp.asarray(target)), jnp.asarray(target != PAD))

    params = layered_params(module)
    agree(run(params), want_logits.detach(), "logits")
    compare(loss, params, want, layered_params(module, gradient))


# --- the tutorial's two models ---------------------------------------------------------------------------------------


class Tutorial(nn.Module):
    """The tutorial's networks, sentence by sentence, word by word, with its loop that stops at the model's own EOS."""

    def __init__(self, Vs: int, Vt: int, H: int, length: int | None) -> None:
        super().__init__()
        self.length = length
        self.source, self.encoder = nn.Embedding(Vs, H), nn.GRU(H, H)
        self.target, self.decoder = nn.Embedding(Vt, H), nn.GRU(H, H)
        self.logits = nn.Linear(H, Vt)
        if length is not None:
            self.attention, self.combine = nn.Linear(2 * H, length), nn.Linear(2 * H, H)

    def sentence(self, source: list[int], target: list[int], forced: bool) -> torch.Tensor:
        H = self.source.embedding_dim
        state, outs = torch.zeros(1, 1, H).double(), torch.zeros(self.length or 1, H).double()
        for position, word in enumerate(source):
            out, state = self.encoder(self.source(torch.tensor([[word]])), state)
            if self.length is not None:
                outs[position] = out[0, 0]
        fed, total = SOS, torch.zeros(()).double()
        for word in target:
            y = self.target(torch.tensor(fed))
            if self.length is None:
                x = torch.relu(y)
            else:
                weights = torch.softmax(self.attention(torch.cat([y, state[0, 0]])), dim=-1)
                x = torch.relu(self.combine(torch.cat([y, weights @ outs])))
            out, state = self.decoder(x[None, None], state)
            log_p = F.log_softmax(self.logits(out[0, 0]), dim=-1)
            total = total - log_p[word]
            fed = word if forced else int(log_p.argmax())
            if not forced and fed == EOS:
                break
        return total


def tutorial_params(m: Tutorial, read=numpy):
    encoder, decoder = rnn_params(m.encoder, "_l0", read), rnn_params(m.decoder, "_l0", read)
    source, target, logits = read(m.source.weight), read(m.target.weight), affine_params(m.logits, read)
    if m.length is None:
        return PlainParams(source, target, encoder, decoder, logits)
    H = m.source.embedding_dim
    combine, scores = affine_params(m.combine, read), affine_params(m.attention, read)
    cell = AttentiveCellParams(decoder, PositionalParams(scores.W, scores.b), combine.W[:H], combine.W[H:], combine.b)
    return AttentiveParams(source, target, encoder, cell, logits)


@pytest.mark.parametrize("length", [None, 10], ids=["plain", "attention"])
def test_tutorial(length: int | None) -> None:
    """A batch in which half of the rows are free-running; some of them stop early."""
    torch.manual_seed(3)
    Vs, Vt, H = 11, 9, 6
    module = Tutorial(Vs, Vt, H, length).double()
    with torch.no_grad():
        module.logits.bias[EOS] += 1.0  # so that a free-running row stops early
    source, _, inputs, target = a_batch(5)
    rows = np.array([True, False, True, False])
    sentences = [tuple([int(w) for w in side[:, b] if w != PAD] for side in (source, target)) for b in range(4)]
    sums = torch.stack([module.sentence(*both, bool(forced)) for both, forced in zip(sentences, rows, strict=True)])
    reported = np.mean([float(total) / len(words) for total, (_, words) in zip(sums.detach(), sentences, strict=True)])
    want = sums.mean()
    want.backward()

    model = plain if length is None else attentive(length, dropout=0.0)
    forced = jnp.broadcast_to(jnp.asarray(rows), target.shape)
    params = tutorial_params(module)

    def loss(params):
        encoded = model.encode(params, jnp.asarray(source), jnp.asarray(source != PAD))
        _, (logits, _) = model.decode(params, encoded, jnp.asarray(inputs), forced)
        counted = losses.until_own_eos(logits, forced, EOS)
        nll = losses.cross_entropy(logits, jnp.asarray(target))
        return losses.per_sentence(nll, counted, jnp.asarray(target != PAD))

    encoded = model.encode(params, jnp.asarray(source), jnp.asarray(source != PAD))
    _, (logits, _) = model.decode(params, encoded, jnp.asarray(inputs), forced)
    counted = np.asarray(losses.until_own_eos(logits, forced, EOS)) & (target != PAD)
    assert counted.sum() < (target != PAD).sum(), "no row stops early: the break is not tested"
    agree(loss(params)[1], reported, "reported loss")
    compare(lambda p: loss(p)[0], params, want, tutorial_params(module, gradient))
