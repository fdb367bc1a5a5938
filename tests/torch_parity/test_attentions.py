"""Every attention against a torch loop over sentences, steps and words: values and every gradient, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from agreement import agree

from jaxseq.attention import (
    ATTENTIONS,
    local_m as local_m_attention,
    local_p as local_p_attention,
    location,
    multi_head,
)
from jaxseq.testing import noisy

S, B, K, Q, A, T = 6, 5, 4, 2, 6, 6
LENGTHS = (6, 1, 0, 4, 2)


def softmax(scores: dict[int, torch.Tensor], n: int) -> torch.Tensor:
    """Weights over n words; those without a score get none."""
    total = sum(torch.exp(e) for e in scores.values())
    return torch.stack([torch.exp(scores[j]) / total if j in scores else torch.zeros(()).double() for j in range(n)])


def by_score(score):
    """The loop of an attention without state, from the score of one query and one word."""

    def loop(p, queries, h):
        return [softmax({j: score(p, s, h[j]) for j in range(len(h))}, len(h)) for s in queries]

    return loop


def additive_score(p, s, h):
    return torch.dot(p.v, torch.tanh(p.W.T @ s + p.U.T @ h))


def dot_score(p, s, h):
    """A source of 2 Q features is compared with the query twice, its halves' scores added."""
    return torch.dot(s, h[:Q]) + torch.dot(s, h[Q:])


def scaled_score(p, s, h):
    return dot_score(p, s, h) / np.sqrt(K)


def general_score(p, s, h):
    return s @ p.W @ h


def concat_score(p, s, h):
    return torch.dot(p.v, torch.tanh(p.W.T @ torch.cat([s, h])))


def local_m(D):
    def loop(p, queries, h):
        n = len(h)
        return [
            softmax({j: general_score(p, s, h[j]) for j in range(max(0, t - D), min(n, t + D + 1))}, n)
            for t, s in enumerate(queries)
        ]

    return loop


def local_p(D):
    def loop(p, queries, h):
        n, rows = len(h), []
        for s in queries:
            centre = n * torch.sigmoid(torch.dot(p.v, torch.tanh(p.Wp.T @ s)))
            scores = {j: general_score(p, s, h[j]) for j in range(n) if centre - D <= j <= centre + D}
            bell = torch.stack([torch.exp(-((j - centre) ** 2) / (2 * (D / 2) ** 2)) for j in range(n)])
            rows.append(softmax(scores, n) * bell)
        return rows

    return loop


def location_loop(p, queries, h):
    n, r = len(h), len(p.F)
    before, rows = torch.zeros(n).double(), []
    for s in queries:
        scores = {}
        for j in range(n):
            inside = [(m, j + m - r // 2) for m in range(r) if 0 <= j + m - r // 2 < n]
            f = sum(p.F[m] * before[at] for m, at in inside)
            scores[j] = torch.dot(p.v, torch.tanh(p.W.T @ s + p.U.T @ h[j] + p.L.T @ f + p.b))
        before = softmax(scores, n)
        rows.append(before)
    return rows


def coverage_loop(p, queries, h):
    rows = []
    for t, s in enumerate(queries):
        covered = [sum((row[j] for row in rows[:t]), torch.zeros(()).double()) for j in range(len(h))]
        scores = {
            j: torch.dot(p.v, torch.tanh(p.U.T @ h[j] + p.W.T @ s + p.w * covered[j] + p.b)) for j in range(len(h))
        }
        rows.append(softmax(scores, len(h)))
    return rows


def monotonic_loop(p, queries, h):
    """Equation 9 of the paper: every place to come from, and every word to walk past."""
    n = len(h)
    before, rows = [1.0] + [0.0] * (n - 1), []
    for s in queries:
        stop = [
            torch.sigmoid(p.g * torch.dot(p.v / p.v.pow(2).sum().sqrt(), torch.tanh(p.W.T @ s + p.U.T @ x + p.b)) + p.r)
            for x in h
        ]
        now = []
        for j in range(n):
            total = torch.zeros(()).double()
            for k in range(j + 1):
                past = torch.ones(()).double()
                for word in range(k, j):
                    past = past * (1 - stop[word])
                total = total + before[k] * past
            now.append(stop[j] * total)
        before = now
        rows.append(torch.stack(now))
    return rows


CASES = {
    "additive": (ATTENTIONS["additive"], by_score(additive_score)),
    "dot": (ATTENTIONS["dot"], by_score(dot_score)),
    "scaled_dot": (ATTENTIONS["scaled_dot"], by_score(scaled_score)),
    "general": (ATTENTIONS["general"], by_score(general_score)),
    "concat": (ATTENTIONS["concat"], by_score(concat_score)),
    "local_m": (ATTENTIONS["local_m"], local_m(10)),
    "local_m, narrow": (local_m_attention.with_(window=1), local_m(1)),
    "local_p": (ATTENTIONS["local_p"], local_p(10)),
    "local_p, narrow": (local_p_attention.with_(window=2), local_p(2)),
    "location": (ATTENTIONS["location"], location_loop),
    "location, narrow": (location.with_(filters=3, width=5), location_loop),
    "coverage": (ATTENTIONS["coverage"], coverage_loop),
    "monotonic": (ATTENTIONS["monotonic"], monotonic_loop),
}


def run(attention, params, queries, values, mask):
    """Contexts ``[T, B, K]`` and weights ``[T, B, S]``, the state passed on."""
    memory = attention.remember(params, values, mask)
    state, seen = attention.initial_state(params, memory), []
    for query in queries:
        state, (context, weights) = attention.attend(params, memory, state, query)
        seen.append((context, weights))
    return tuple(jnp.stack(a) for a in zip(*seen, strict=True))


def leaf(a) -> torch.Tensor:
    return torch.tensor(np.asarray(a), requires_grad=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace("_", " "))
def test_attention(case: str) -> None:
    attention, loop = CASES[case]
    keys = jax.random.split(jax.random.key(3), 4)
    params = noisy(keys[0], attention.init(keys[1], Q, K, A, dtype=jnp.float64))
    queries = jax.random.normal(keys[2], (T, B, Q), jnp.float64)
    values = jax.random.normal(keys[3], (S, B, K), jnp.float64)
    mask = jnp.arange(S)[:, None] < jnp.asarray(LENGTHS)[None]

    theirs, q, h = jax.tree.map(leaf, (params, queries, values))
    contexts, weights = torch.zeros(T, B, K).double(), torch.zeros(T, B, S).double()
    for b, n in enumerate(LENGTHS):
        for t, row in enumerate(loop(theirs, q[:, b], h[:n, b]) if n else ()):
            weights[t, b, :n] = row
            contexts[t, b] = sum(row[j] * h[j, b] for j in range(n))
    (torch.sin(contexts + 1).sum() + (weights**2).sum()).backward()

    def total(params, queries, values):
        seen = run(attention, params, queries, values, mask)
        return jnp.sin(seen[0] + 1).sum() + (seen[1] ** 2).sum(), seen

    grads, (got_contexts, got_weights) = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(
        params, queries, values
    )
    agree(got_contexts, contexts.detach(), "contexts")
    agree(got_weights, weights.detach(), "weights")
    wanted = jax.tree.leaves((theirs, q, h))
    for (path, got), want in zip(jax.tree.leaves_with_path(grads), wanted, strict=True):
        at = f"gradient at {jax.tree_util.keystr(path)}"
        agree(got, want.grad, at)
        assert want.grad.abs().max() > 0, f"no {at}: nothing is tested"


def test_multi_head_is_torchs() -> None:
    torch.manual_seed(0)
    E, heads = 6, 3
    module = torch.nn.MultiheadAttention(E, heads, bias=False, batch_first=True).double()
    query, values = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((B, E), (B, S, E)))
    lengths = torch.tensor([6, 1, 3, 4, 2])  # torch has NaN where nothing is real
    real = torch.arange(S)[None] < lengths[:, None]
    context, weights = module(query[:, None], values, values, key_padding_mask=~real)
    (torch.sin(context).sum() + (weights**2).sum()).backward()

    attention = multi_head.with_(heads=heads)
    like = attention.init(jax.random.key(0), E, E, E)

    def params(read):
        W, U, V = (m.T for m in np.split(read(module.in_proj_weight), 3))
        return type(like)(
            *(jnp.asarray(m).reshape(E, heads, E // heads) for m in (W, U, V)),
            jnp.asarray(read(module.out_proj.weight).T).reshape(heads, E // heads, E),
        )

    def total(params, query, values):
        memory = attention.remember(params, values.swapaxes(0, 1), jnp.asarray(real.numpy()).T)
        _, (context, weights) = attention.attend(params, memory, (), query)
        return jnp.sin(context).sum() + (weights**2).sum(), (context, weights)

    numpy = lambda a: a.detach().numpy()  # noqa: E731
    arguments = params(numpy), jnp.asarray(numpy(query)), jnp.asarray(numpy(values))
    grads, (got_context, got_weights) = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(*arguments)
    agree(got_context, numpy(context[:, 0]), "context")
    agree(got_weights, numpy(weights[:, 0]), "weights")
    want = params(lambda a: a.grad.numpy()), query.grad.numpy(), values.grad.numpy()
    for (path, g), w in zip(jax.tree.leaves_with_path(grads), jax.tree.leaves(want), strict=True):
        agree(g, w, f"gradient at {jax.tree_util.keystr(path)}")


def test_multi_head_of_sizes_all_different() -> None:
    """torch's function has one width for queries and heads; this is a loop over heads, for any."""
    keys = jax.random.split(jax.random.key(4), 4)
    params = multi_head.init(keys[0], Q, 5, 12, dtype=jnp.float64)
    assert params.W.shape == (Q, 4, 3), "8 heads do not divide 12 units, 4 do"
    query, values = jax.random.normal(keys[1], (B, Q)), jax.random.normal(keys[2], (S, B, 5))
    mask = jnp.arange(S)[:, None] < jnp.asarray(LENGTHS)[None]

    p, q, h = jax.tree.map(leaf, (params, query, values))
    rows = []
    for b, n in enumerate(LENGTHS):
        context = torch.zeros(5).double()
        for i in range(4 if n else 0):
            scores = {j: torch.dot(p.W[:, i].T @ q[b], p.U[:, i].T @ h[j, b]) / np.sqrt(3) for j in range(n)}
            a = softmax(scores, n)
            context = context + p.O[i].T @ sum(a[j] * (p.V[:, i].T @ h[j, b]) for j in range(n))
        rows.append(context)
    torch.sin(torch.stack(rows) + 1).sum().backward()

    def total(params, query, values):
        _, (context, _) = multi_head.attend(params, multi_head.remember(params, values, mask), (), query)
        return jnp.sin(context + 1).sum(), context

    grads, context = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(params, query, values)
    agree(context, torch.stack(rows).detach(), "context")
    for (path, got), want in zip(jax.tree.leaves_with_path(grads), jax.tree.leaves((p, q, h)), strict=True):
        agree(got, want.grad, f"gradient at {jax.tree_util.keystr(path)}")
