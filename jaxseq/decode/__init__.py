"""Generating token sequences from any token step function: greedy, sampled or by beam search. Works with any model.

A `TokenStep` is ``step(carry, tokens [B]) -> (carry, (logits [B, V], seen))``, where `seen` is any pytree of
``[B, ...]`` to record at each step, such as attention weights.

| function         | returns                                                             |
|------------------|---------------------------------------------------------------------|
| `greedy`         | the likeliest token at each step                                    |
| `sample`         | tokens drawn from the softmax                                       |
| `beam`           | the n likeliest sequences that a beam finds                         |
| `teacher_forced` | logits of given targets                                             |
| `score`          | log-probabilities and perplexity of given targets                   |
| `ensemble`       | one step whose probabilities are the mean of those of several steps |

Filters such as `top_k`, `top_p` and `forbid` map logits to logits, with -inf for a token that may not be chosen; any
such function is a filter. All are pure functions that can be called inside one jit. They run batched, and stop when
every row has ended.
"""

from jaxseq.decode._beam import Hypotheses, beam
from jaxseq.decode._filters import Filter, forbid, top_k, top_p
from jaxseq.decode._greedy import Decoded, greedy, sample
from jaxseq.decode._score import Scores, score, teacher_forced
from jaxseq.decode._step import TokenStep, ensemble

__all__ = [
    "Decoded",
    "Filter",
    "Hypotheses",
    "Scores",
    "TokenStep",
    "beam",
    "ensemble",
    "forbid",
    "greedy",
    "sample",
    "score",
    "teacher_forced",
    "top_k",
    "top_p",
]
