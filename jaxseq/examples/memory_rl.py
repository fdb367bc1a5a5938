"""Train an agent with memory, reset where episodes end, and compare agents reset never and always.

    python -m jaxseq.examples.memory_rl

In a dark corridor gusts turn an A2C agent around. At the end it must choose one of two doors by the way it faces, so it
must count the gusts since the episode began. Two of three episodes are cut off before the doors, and no observation
shows it: an agent that is never reset keeps counting. One that is reset at every step remembers nothing.
"""

from collections import namedtuple

import jax
import jax.numpy as jnp
import optax

from jaxseq import unroll
from jaxseq.affine import Affine
from jaxseq.cells import GRUCarry, gru

Corridor = namedtuple("Corridor", "left doors gust way")
Corridor.__doc__ = "Steps to go, whether doors end them, whether a gust turns the agent now, which way it faces; [B]."
adam = optax.adam(2e-2)


def move(key: jax.Array, now: Corridor, action: jax.Array) -> tuple[Corridor, jax.Array, jax.Array]:
    """Return the next state, the reward, and whether the episode ended; a new one then has 2 to 6 steps."""
    left, kind, gust = jax.random.randint(key, (3, action.size), 0, jnp.array([[5], [3], [2]]))
    new, onward = Corridor(left + 1, kind // 2, gust, gust), Corridor(now.left - 1, now.doors, gust, now.way ^ gust)
    reward = (ended := now.left == 0) * now.doors * jnp.where(action == now.way, 1.0, -1.0)
    return jax.tree.map(lambda a, b: jnp.where(ended, a, b), new, onward), reward, ended


def act(params: tuple, agent: jax.Array, state: tuple, keys: jax.Array) -> tuple[tuple, tuple]:
    """Take one step of agent and corridor in all rows; agent 0 is reset at episode ends, 1 never, 2 always."""
    corridor, carry, reset = state
    seen = jnp.stack([corridor.gust, (corridor.left == 0) & corridor.doors], -1).astype(jnp.float32)
    carry, outs = unroll(gru, params[0], seen[None], carry, resets=reset[None])
    action = jax.random.categorical(keys[0], params[1](outs[0])[:, :2])
    corridor, reward, ended = move(keys[1], corridor, action)
    return (corridor, carry, (ended & (agent == 0)) | (agent == 2)), (seen, reset, action, reward, ended)


def loss(params: tuple, carry: GRUCarry, rollout: tuple) -> jax.Array:
    """Return the loss of a rollout of several episodes: one `unroll` from the rollout's initial carry."""
    seen, resets, action, reward, ended = rollout
    heads = params[1](unroll(gru, params[0], seen, carry, resets=resets)[1])  # two logits and a value
    log_p, value = jax.nn.log_softmax(heads[..., :2]), heads[..., 2]
    _, returns = jax.lax.scan(lambda G, r: (r[0] + r[1] * G,) * 2, value[-1], (reward, 0.5 * ~ended), reverse=True)
    advantage = jax.lax.stop_gradient(returns) - value
    actor = -jax.lax.stop_gradient(advantage) * jnp.take_along_axis(log_p, action[..., None], -1)[..., 0]
    return (actor + 0.1 * advantage**2 + 0.06 * (jnp.exp(log_p) * log_p).sum(-1)).mean()  # entropy bonus


def train(key: jax.Array, agent: jax.Array, updates: int, rows: int) -> jax.Array:
    """Train an agent in rollouts of 20 steps; return the share of correct doors in each."""
    of_cell, of_heads, of_updates = jax.random.split(key, 3)
    params = (gru.init(of_cell, 2, 16), Affine.init(of_heads, 16, 3, jnp.float32))
    start = (Corridor(*jnp.zeros((4, rows), int)), gru.initial_carry(params[0], (rows,)), jnp.zeros(rows, bool))

    def update(state: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
        params, moments, before = state
        after, rollout = jax.lax.scan(lambda s, k: act(params, agent, s, k), before, jax.random.split(key, (20, 2)))
        changes, moments = adam.update(jax.grad(loss)(params, before[1], rollout), moments)
        return (optax.apply_updates(params, changes), moments, after), (rollout[3] > 0).sum() / (rollout[3] != 0).sum()

    return jax.lax.scan(update, (params, adam.init(params), start), jax.random.split(of_updates, updates))[1]


def main(updates: int = 300, rows: int = 64, seeds: int = 3) -> jax.Array:
    """Train the agents with several seeds at once; return the final share of correct doors, [agent, seed]."""
    every = jax.vmap(jax.vmap(lambda key, agent: train(key, agent, updates, rows), (0, None)), (None, 0))
    right = jax.jit(every)(jax.random.split(jax.random.key(0), seeds), jnp.arange(3))[..., -updates // 10 :].mean(-1)
    print(f"right doors after {updates} updates (chance: 50%), mean and spread of {seeds} seeds:")
    for agent, shares in zip(("where episodes end", "never", "at every step"), right, strict=True):
        print(f"  reset {agent:<20}{shares.mean():6.1%} ± {shares.std():.1%}")
    return right


if __name__ == "__main__":
    main()
