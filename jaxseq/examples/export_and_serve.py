"""Write a model to a file that serves any batch and any length, and run it without this library.

    python -m jaxseq.examples.export_and_serve

`jax.export` stores the compiled program, not the Python code. Symbolic sizes, here T and B, may have any value at the
call. The parameters are constants of the program: the file is the whole model. The serving process needs only JAX (and
flatbuffers, the file's format); here importing jaxseq in it would fail.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxseq import length_mask, unroll
from jaxseq.cells import gru

try:
    import flatbuffers  # noqa: F401, jax.export needs it
except ImportError as error:
    raise SystemExit("This example needs flatbuffers: pip install flatbuffers") from error

INPUTS, CLASSES = 3, 4
SERVER = """
import json, sys
sys.modules["jaxseq"] = None  # not to be had here
import numpy as np
from jax import export

call = export.deserialize(open(sys.argv[1], "rb").read()).call
for line in sys.stdin:
    xs, lengths = json.loads(line)
    print(json.dumps(np.asarray(call(np.float32(xs), np.int32(lengths))).tolist()))
"""


def classify(params: dict, xs: jax.Array, lengths: jax.Array) -> jax.Array:
    """Return logits ``[B, CLASSES]`` of padded sequences ``xs [T, B, D]``, from the last real step of each."""
    carry, _ = unroll(gru, params["cell"], xs, mask=length_mask(lengths, xs.shape[0]))
    return carry.h @ params["out"]


def exported(params: dict) -> bytearray:
    """Return the model for any T and B, serialised."""
    T, B = export.symbolic_shape("T, B")
    shapes = jax.ShapeDtypeStruct((T, B, INPUTS), jnp.float32), jax.ShapeDtypeStruct((B,), jnp.int32)
    return export.export(jax.jit(lambda xs, lengths: classify(params, xs, lengths)))(*shapes).serialize()


def main(hidden: int = 32) -> list[float]:
    """Export, serve three batches from another process, and return their largest differences from this process."""
    out = jax.random.normal(jax.random.key(1), (hidden, CLASSES))
    params = {"cell": gru.init(jax.random.key(0), INPUTS, hidden), "out": out}
    model = exported(params)
    random, differences = np.random.default_rng(0), []
    sizes = [(5, 1), (20, 8), (100, 3)]
    batches = [(random.standard_normal((T, B, INPUTS)), random.integers(1, T + 1, B)) for T, B in sizes]

    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder, "model")).write_bytes(model)
        asked = "\n".join(json.dumps([xs.tolist(), lengths.tolist()]) for xs, lengths in batches)
        command = [sys.executable, "-c", SERVER, str(path)]
        answers = subprocess.check_output(command, input=asked, text=True, timeout=60).splitlines()

    print(f"the model is {len(model):,} bytes, {sum(a.size for a in jax.tree.leaves(params)):,} parameters in it")
    for (T, B), (xs, lengths), answer in zip(sizes, batches, answers, strict=True):
        here = classify(params, jnp.float32(xs), jnp.int32(lengths))
        differences.append(float(np.abs(np.subtract(json.loads(answer), here)).max()))
        print(f"T = {T}, B = {B}: logits of the other process differ from those of this one by {differences[-1]:.1e}")
    return differences


if __name__ == "__main__":
    main()
