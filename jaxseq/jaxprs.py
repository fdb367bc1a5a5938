"""Jaxprs evaluated equation by equation, so that some of the equations can be changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

Rule = Callable[[JaxprEqn, list[Any]], list[Any] | None]
"""``(equation, values of its inputs) -> values of its outputs``; None leaves the equation as it is."""


def result(eqn: JaxprEqn, values: Sequence[Any]) -> list[Any]:
    """Return the values of an equation's outputs, computed under the mesh it was traced under."""
    with eqn.ctx.manager:
        out = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return list(out) if eqn.primitive.multiple_results else [out]


def equations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """Yield all equations of a jaxpr, and those of the jaxprs among their params."""
    for eqn in jaxpr.eqns:
        yield eqn
        for called in inside(eqn):
            yield from equations(called)


def inside(eqn: JaxprEqn) -> list[Jaxpr]:
    """Return the jaxprs among an equation's params: those that jit, scan, while, cond and checkpoint call."""
    params = jax.tree.leaves(tuple(eqn.params.values()), is_leaf=lambda p: isinstance(p, Jaxpr | ClosedJaxpr))
    found = [p for p in params if isinstance(p, Jaxpr | ClosedJaxpr)]
    return [p.jaxpr if isinstance(p, ClosedJaxpr) else p for p in found]


CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
         "checkpoint", "remat", "remat2", "custom_lin")  # fmt: skip
"""Primitives that call a jaxpr; their rules for derivatives are ignored."""


def called(eqn: JaxprEqn) -> ClosedJaxpr | Jaxpr | None:
    """Return the single jaxpr that an equation of `CALLS` calls, or None."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if isinstance(eqn.params.get(name), ClosedJaxpr | Jaxpr):
            return eqn.params[name]
    found = inside(eqn)
    return found[0] if len(found) == 1 else None


def evaluate(closed: ClosedJaxpr, args: Sequence[Any], rule: Rule, seen: Sequence[bool] | None = None) -> list[Any]:
    """Return the outputs of a jaxpr evaluated with some equations changed by a rule.

    The rule also applies inside jit, scan, while, cond and checkpoint, and to the value of a function with a custom
    derivative (`jax.custom_jvp`, `jax.custom_vjp`); the derivative is left as it is.

    Args:
      closed: the jaxpr.
      args: the values of its inputs.
      rule: the change of an equation.
      seen: for each input, whether the rule sees the equations that depend on it; all by default. An equation that
        depends on no seen input is left as it is, with everything that it calls.
    """
    jaxpr = closed.jaxpr
    known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))
    depends = set(jaxpr.invars) if seen is None else {v for v, s in zip(jaxpr.invars, seen, strict=True) if s}
    value = lambda v: v.val if isinstance(v, Literal) else known[v]  # noqa: E731
    for eqn in jaxpr.eqns:
        values = [value(v) for v in eqn.invars]
        outs = None
        if seen is None or any(v in depends for v in eqn.invars if not isinstance(v, Literal)):
            depends.update(eqn.outvars)
            outs = rule(eqn, values)
            eqn = _rewritten_inside(eqn, rule) if outs is None else eqn
        known.update(zip(eqn.outvars, result(eqn, values) if outs is None else outs, strict=True))
    return [value(v) for v in jaxpr.outvars]


def _rewritten_inside(eqn: JaxprEqn, rule: Rule) -> JaxprEqn:
    """Return an equation with the jaxprs among its params rewritten by the rule."""

    def rewritten(param: Any) -> Any:
        if isinstance(param, ClosedJaxpr):
            run = lambda *args: evaluate(param, args, rule)  # noqa: E731
            return jax.make_jaxpr(run)(*param.in_avals)
        if isinstance(param, Jaxpr):
            return rewritten(ClosedJaxpr(param, ())).jaxpr
        # a NamedTuple, such as a gather's dimension numbers, contains no jaxpr and must keep its type
        return tuple(map(rewritten, param)) if type(param) is tuple else param

    return eqn.replace(params={name: rewritten(param) for name, param in eqn.params.items()})
