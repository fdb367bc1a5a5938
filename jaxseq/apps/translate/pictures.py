"""Pictures of a translation: its attention map, and the gates of the encoder as it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxseq.apps.translate.model import Translation, Translator
from jaxseq.files import check_place


def check_pictures(**options: Path | None) -> None:
    """Check that the pictures of these options can be written, before anything takes time.

    Raises:
      InputError: if a name has no suffix of a picture format, or its folder cannot be written.
    """
    for option, path in options.items():
        if path is not None:
            from jaxseq import plots

            plots.picture_format(path)
            check_place(path, f"--{option}")


def draw_attention(done: Translation, path: Path) -> list[str]:
    """Draw one attention map; return notes instead if the model has none."""
    from jaxseq import plots

    # a note instead of an error: the translation itself is there
    if done.weights.shape[1] == 0:
        return [f"this model has no attention; {path} is not written"]
    plots.save(plots.attention_map(done.weights, done.source_tokens, done.target_tokens), path)
    return []


def draw_gates(translator: Translator, sentence: str, path: Path) -> None:
    """Draw the gates of the encoder's first layer as it reads a sentence.

    Raises:
      InputError: for an empty sentence.
    """
    # here, so that translating does not import matplotlib
    from jaxseq import plots, study

    tokens, seen, cell = translator.gates(sentence)
    keeps, order = study.keeps_of(cell), None
    if keeps:  # as on a page, the units that retain longest first
        order = np.asarray(study.by_half_life(study.half_life(keeps[0].of(seen)[:, None]))).tolist()
    plots.save(study.plot_timelines(seen, steps=tokens, order=order, roles=study.roles_of(cell)), path)
