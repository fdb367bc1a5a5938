"""A translator as files that run without this library: `jax.export` programs, weights, vocabularies.

model.json    vocabularies, how text is cut into tokens and joined, and the settings of the programs
weights.npz   the parameters, in the order in which the programs take them
greedy.bin    encoder and greedy decoding, for any number of sentences of any length
beam.bin      the same with beam search
*.model       of sentencepiece, if tokens are subwords
README.md     how to run them
"""

from __future__ import annotations

import functools
import importlib.util
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as exporting

from jaxseq import __version__
from jaxseq.apps.text import EOS, PAD, SOS, UNK
from jaxseq.apps.text.casing import FIRST_LETTER
from jaxseq.apps.text.normalising import widenings
from jaxseq.apps.text.saved import model_file
from jaxseq.apps.text.subwords import Subwords
from jaxseq.apps.translate.batches import LENGTHS
from jaxseq.apps.translate.decoding import USUAL, Decoding, write
from jaxseq.apps.translate.model import Translator
from jaxseq.apps.translate.preparation import Preparation
from jaxseq.errors import InputError, choose
from jaxseq.files import whole_folder, write_atomic
from jaxseq.locks import locked
from jaxseq.notation import Array, Tree

FACTS, WEIGHTS, README, CLIENT = "model.json", "weights.npz", "README.md", "translate.py"
PLATFORMS = ("cpu", "cuda")
"""Platforms for which programs are lowered by default: one file runs on both."""
KNOWN = (*PLATFORMS, "rocm", "tpu")
NOTHING = "(?!)"
"""A regular expression that matches nowhere."""


class Exported(NamedTuple):
    """The written folder, its files with their sizes in bytes, and the platforms of the programs."""

    path: Path
    files: dict[str, int]
    platforms: tuple[str, ...]


def export(
    translator: Translator,
    path: Path | str,
    decoding: Decoding = USUAL,
    *,
    platforms: Sequence[str] = PLATFORMS,
    overwrite: bool = False,
) -> Exported:
    """Write a translator to a folder, as described above.

    Raises:
      InputError: if the folder is in use or cannot be written, a setting cannot be exported, or flatbuffers, in which
        JAX writes programs, is not installed.
    """
    decoding.check()
    if importlib.util.find_spec("flatbuffers") is None:
        raise InputError("JAX writes programs with flatbuffers, which is not installed: pip install flatbuffers")
    for name in platforms:
        if name == "gpu":
            raise InputError("--platforms gpu: name the kind, cuda for NVIDIA or rocm for AMD")
        choose("platform", name, dict.fromkeys(KNOWN))
    # a program without this library has no random keys, and no source words to copy
    if decoding.sample or decoding.unknown == "copy":
        raise InputError("export writes greedy and beam search; leave out --sample and --unknown copy")
    path = Path(path)
    # only an earlier export may be replaced, never another folder
    if path.is_dir() and any(path.iterdir()) and not (overwrite and (path / FACTS).exists()):
        raise InputError(f"{path} is not empty; choose another folder with -o" + _or_overwrite(path))
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; name a folder with -o")
    everyone = (translator, *translator.others)
    params = tuple(one.params for one in everyone)
    # the file has only arrays: the program restores the structure
    leaves, structure = jax.tree.flatten(params)
    # only shapes and dtypes are traced: the parameters go into weights.npz, once for both programs
    programs = {}
    for name, how in _decodings(decoding).items():
        run = functools.partial(_translated, translator, how, structure)
        programs[name] = bytes(_for_any_size(run, leaves, translator.config.longest, platforms).serialize())
    arrays = io.BytesIO()
    # three digits, so that names sort as the programs take the arrays
    named: dict[str, Any] = {f"{n:03}": np.asarray(leaf) for n, leaf in enumerate(leaves)}
    np.savez(arrays, **named)
    facts = _facts(translator, decoding, platforms)
    contents: dict[str, str | bytes] = {
        FACTS: json.dumps(facts, ensure_ascii=False, indent=1) + "\n",
        WEIGHTS: arrays.getvalue(),
        **programs,
        **_subwords(translator.source),
        CLIENT: client(),
        README: _readme(facts),
    }
    # the folder appears whole or not at all
    with locked(path), whole_folder(path) as folder:
        for name, content in contents.items():
            write_atomic(folder / name, content)
    return Exported(path, {name: (path / name).stat().st_size for name in contents}, tuple(platforms))


def client() -> str:
    """Return the program that the guide shows, which runs an export and needs only JAX."""
    guide = (Path(__file__).parents[2] / "guide" / "translating.md").read_text(encoding="utf-8")
    # taken from the guide, whose code is tested, so there is only one such program
    return next(block for block in guide.split("```python\n") if "deserialize" in block).split("```")[0]


def _subwords(preparation: Preparation) -> dict[str, bytes]:
    """Return the file that cuts sources into subwords; nothing for other tokens."""
    tokeniser = preparation.tokeniser
    return {model_file("source"): tokeniser.model} if isinstance(tokeniser, Subwords) else {}


def _or_overwrite(path: Path) -> str:
    return ", or replace it with --overwrite" if (path / FACTS).exists() else ""


def _decodings(decoding: Decoding) -> dict[str, Decoding]:
    """Return the settings of each program; a beam of 1 is greedy."""
    of_beam = {"beam.bin": decoding} if decoding.beam > 1 else {}
    return {"greedy.bin": Decoding(beam=1, length_penalty=decoding.length_penalty, unknown=decoding.unknown), **of_beam}


def _translated(
    translator: Translator, decoding: Decoding, structure: Any, leaves: Sequence[Array], source: Array
) -> dict[str, Array]:
    """Return the results of a program by name; see the guide."""
    longest = translator.config.most_target_tokens(source.shape[0])
    models = [one.model for one in (translator, *translator.others)]
    return write(models, decoding, longest, jax.tree.unflatten(structure, leaves), source)._asdict()


def _for_any_size(
    run: Callable[..., Tree], leaves: Sequence[Array], longest: int, platforms: Sequence[str]
) -> exporting.Exported:
    """Return a program for any batch and any source length that the model reads."""
    # one program for all sizes; a source above the bound is refused when the program is called
    sizes = exporting.symbolic_shape("S, B", constraints=[f"S <= {longest}"])
    types = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    source = jax.ShapeDtypeStruct(sizes, jnp.int32)
    try:
        return exporting.export(jax.jit(run), platforms=platforms)(types, source)
    # an operation that has no lowering on one of the platforms
    except NotImplementedError as error:
        raise InputError(
            f"this model cannot be lowered for {', '.join(platforms)} ({error}); try --platforms cpu"
        ) from error


def _facts(translator: Translator, decoding: Decoding, platforms: Sequence[str]) -> dict[str, Any]:
    """Return the contents of model.json."""
    config = translator.config
    return {
        "source": _of(translator.source, config.source, config.normalise),
        "target": _of(translator.target, config.target, config.normalise),
        "pad": PAD, "sos": SOS, "eos": EOS, "unk": UNK,
        "program": list(_decodings(decoding))[-1],
        # a program compiles for each size, so the client pads to a few
        "lengths": [length for length in LENGTHS if length <= config.longest],
        "decoding": {"beam": decoding.beam, "nbest": decoding.nbest, "length_penalty": decoding.length_penalty,
                     "coverage_penalty": decoding.coverage_penalty, "unknown": decoding.unknown},
        "models": 1 + len(translator.others), "platforms": list(platforms), "jax": jax.__version__,
        "jaxseq": __version__,
    }  # fmt: skip


def _of(preparation: Preparation, language: str, normalise: str) -> dict[str, Any]:
    """Return the facts on one language's text."""
    tokeniser = preparation.tokeniser
    restores = tokeniser.case == "restore"
    # a plain program looks tokens up in the table of capitals, which holds no pieces of words
    of_words = restores and tokeniser.kind != Subwords.kind
    return {
        "language": language, "normalise": normalise, "cut": tokeniser.kind, "lower": tokeniser.case != "keep",
        "replace": [(r"^\s+|\s+$", ""), (r"\s+", " "), *tokeniser.finding()], "pattern": tokeniser.pattern(),
        "subwords": model_file("source") if isinstance(tokeniser, Subwords) else "",
        "join": [*tokeniser.joining(), *widenings(tokeniser.language)],
        "capitals": tokeniser.casing.words if of_words else {},
        "beginning": FIRST_LETTER if restores and tokeniser.casing.begins else NOTHING,
        "tokens": list(preparation.vocabulary.tokens),
    }  # fmt: skip


def _readme(facts: dict[str, Any]) -> str:
    decoding, source, target = facts["decoding"], facts["source"], facts["target"]
    beam = (
        f"\n| `beam.bin` | encoder and beam search: beam {decoding['beam']}, length penalty "
        f"{decoding['length_penalty']}, the {decoding['nbest']} best |"
    ) * (decoding["beam"] > 1)
    needs = "jax flatbuffers" + " sentencepiece" * bool(source["subwords"])
    return f"""# A translator from {source["language"]} to {target["language"]}, exported by jaxseq {facts["jaxseq"]}

`python translate.py . "…"` translates sentences. It needs `pip install {needs}` and not jaxseq; programs run on
{" and ".join(facts["platforms"])}, with jax {facts["jax"]} or newer.

| file | contents |
|---|---|
| `model.json` | vocabularies; how text is tokenised (`replace`, `pattern` or `subwords`) and joined; special tokens |
| `weights.npz` | the parameters, in the order in which the programs take them |
| `greedy.bin` | encoder and greedy decoding |{beam}
| `translate.py` | a simple program that runs them, to change as you need |

A program is called with the list of arrays in `weights.npz` and a source, int32 `[S, B]`: the token ids of B
sentences, each a column that ends with `eos` and is filled up with `pad`. It returns `tokens [T, B, N]` and
`lengths [B, N]`, the N best translations of each, with `scores [B, N]`, `log_probs [T, B, N]` and attention
`weights [T, B, N, S]`. Each new S or B is compiled once: pad sentences to the next of `lengths` in `model.json`, as
jaxseq does.
"""
