"""The settings of a translator, their checks, and the presets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from jaxseq.apps.custom import check_translates, find_cell
from jaxseq.apps.settings import require, require_at_least
from jaxseq.apps.text import NORMALISERS, TOKENISERS
from jaxseq.apps.tutorial import attentive, plain
from jaxseq.attention import ATTENTIONS
from jaxseq.errors import InputError, choose
from jaxseq.forcing import schedule
from jaxseq.seq2seq import Seq2Seq, translator
from jaxseq.train import OPTIMIZERS, SCHEDULES

KIND = "translation"
"""What config.json calls a run of a translator."""
SAMPLE_ABOVE = 20_000
"""Target words above which a note advises to sample the softmax."""
LONGEST = 320
"""Most source tokens that a translator reads, the end of the sentence counted."""
POSITIONS = 10
"""The same of the tutorial's attention, which has a weight for each position; and the most target tokens of the
tutorial's models."""


@dataclasses.dataclass(frozen=True)
class TranslateConfig:
    """Settings of a translation run."""

    data: str = "zh-en"
    """A file of tab-separated pairs, a downloaded data set (cmn-eng) or the shipped corpus (zh-en)."""
    source: str = "zh"
    """Language translated from; one of the file's two columns."""
    target: str = "en"
    """Language translated into."""
    columns: tuple[str, str] = ("en", "zh")
    """Languages of the file's first two columns."""
    normalise: str = "plain"
    """How text is normalised: plain or tutorial."""
    source_tokens: str = "chars"
    """What a source token is: chars (each Chinese character, each Latin word) or words (split at spaces)."""
    target_tokens: str = "words"
    """What a target token is."""
    prefix_filter: bool = False
    """Keep only the tutorial's pairs: under 10 words, English beginning with i am, he is and so on."""
    max_tokens: int = 40
    """Pairs with a longer side are left out, and counted."""
    min_count: int = 1
    """Tokens rarer than this in the training part become UNK."""
    validation: float = 0.05
    """Share of pairs held back to choose the best checkpoint; 0 trains on all."""

    model: Literal["translator", "tutorial-plain", "tutorial-attention"] = "translator"
    """The model: ours, or one of the tutorial's."""
    cell: str = "gru"
    """Recurrent cell of encoder and decoder: a name that `jaxseq cells` lists, or module:cell or file.py:cell."""
    attention: str = "additive"
    """Attention of the decoder: additive, dot, scaled_dot, general, concat, local_m and local_p (10 positions to either
    side), location, coverage, monotonic or multi_head (8 heads where they divide hidden)."""
    layers: int = 1
    """Layers of the encoder."""
    decoder_layers: int = 1
    """Layers of the decoder; the lowest attends, the top is read out."""
    residual: bool = False
    """Add the input of each layer above the lowest to its output."""
    layer_norm: bool = False
    """Normalise the input of every layer."""
    tie: Literal["none", "target", "all"] = "none"
    """Embeddings that are one matrix: none, target (with the output layer), or all (with the source as well, for a
    vocabulary that both languages share)."""
    input_feeding: bool = False
    """Feed the decoder the features of its last step too."""
    embedding: int = 192
    """Features of an embedding."""
    hidden: int = 192
    """Hidden units in each direction."""
    dropout: float = 0.3
    """Probability of dropping a unit in training: of embeddings, between layers, before the logits."""
    word_dropout: float = 0.0
    """Probability of dropping a whole word's embedding in training."""
    coverage_loss: float = 0.0
    """Weight of the loss for looking at the same source token again; 1 in See et al. 2017, 0 for none."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Operands of matrix products in training. bfloat16 is for GPUs, and a CPU emulates it; everything else, and
    translating, is in float32."""
    sampled: int = 0
    """Words drawn to estimate the softmax in training, for vocabularies above 20,000; 0 takes all. Validation does."""

    steps: int = 3000
    """Train steps in all."""
    batch: int = 32
    """Pairs in a step."""
    replacement: bool = False
    """Draw pairs at random with replacement, instead of one permutation after another."""
    buckets: int = 3
    """Groups of like length; each is one compiled program."""
    optimizer: str = "adam"
    """adam, adamw or sgd."""
    learning_rate: float = 3e-3
    """Highest learning rate."""
    schedule: str = "cosine"
    """Learning rate over time: constant or cosine."""
    warmup: int = 50
    """Steps over which the learning rate rises from 0."""
    clip: float = 1.0
    """Largest global gradient norm; 0 for no clipping."""
    label_smoothing: float = 0.1
    """Probability mass spread over all tokens in the loss that is minimised; reported losses are without."""
    loss: Literal["tokens", "sentences", "risk"] = "tokens"
    """Mean over real target tokens; the tutorial's, each sentence's sum, reported by its length; or the expected risk,
    1 - BLEU, of sampled translations, with which a trained run is trained further."""
    risk_samples: int = 8
    """Translations that --loss risk draws for each source."""
    risk_sharpness: float = 0.005
    """Exponent of the probabilities that weigh them."""
    forcing: str = "constant"
    """Schedule of teacher forcing: constant, linear or inverse-sigmoid."""
    forcing_start: float = 1.0
    """Probability of feeding the true previous token, at first."""
    forcing_end: float = 0.0
    """The same at the end of a linear or inverse-sigmoid schedule."""
    forcing_steps: int = 1000
    """Steps that schedule takes."""
    forcing_per: Literal["step", "sequence"] = "step"
    """Whether forcing is drawn for each token or for each sentence."""
    report_every: int = 500
    """Steps between reports, validation and checkpoints."""
    patience: int = 8
    """Reports without a better validation loss before stopping; 0 goes on to the end."""
    seed: int = 0
    """Of weights, data order, dropout and split."""

    def __post_init__(self) -> None:
        # typed with hyphens, as options are, and so saved by earlier versions
        object.__setattr__(self, "attention", self.attention.replace("-", "_"))

    def check(self) -> None:
        """Check every setting.

        Raises:
          InputError: naming the setting, what it may be and what it is.
        """
        positive = (
            "embedding",
            "hidden",
            "layers",
            "decoder_layers",
            "steps",
            "batch",
            "buckets",
            "report_every",
            "min_count",
            "risk_samples",
        )
        require_at_least(1, positive, self)
        require_at_least(0, ("patience", "warmup", "clip", "coverage_loss", "sampled"), self)
        for name in ("dropout", "word_dropout", "label_smoothing", "validation"):
            require(0 <= getattr(self, name) < 1, name, "at least 0 and below 1", self)
        for name in ("learning_rate", "risk_sharpness"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, "above 0 and finite", self)
        most = self.longest - 1
        require(2 <= self.max_tokens <= most, "max_tokens", f"at least 2 and at most {most}", self)
        require(len(set(self.columns)) == 2, "columns", "two languages", self)
        for name in ("source", "target"):
            require(getattr(self, name) in self.columns, name, f"one of columns {self.columns}", self)
        require(self.source != self.target, "target", "another language than source", self)
        for name, table in _TABLES.items():
            choose(name.replace("_", " "), getattr(self, name), table)
        if self.model == "translator":
            check_translates(find_cell(self.cell))
        plain = self.loss == "sentences" or self.model != "translator"
        for name in ("coverage_loss", "sampled"):
            require(not (plain and getattr(self, name)), name, "0 with the tutorial's models and their loss", self)
            require(self.loss != "risk" or not getattr(self, name), name, "0 with --loss risk", self)
        if self.model != "translator":
            require(self.loss != "risk", "loss", "tokens or sentences with the tutorial's models", self)
            require(self.precision == "float32", "precision", "float32 with the tutorial's models", self)
        schedule(self.forcing, self.forcing_start, self.forcing_end, self.forcing_steps)

    @property
    def longest(self) -> int:
        """Most source tokens that the model reads, the end of the sentence counted."""
        return POSITIONS if self.model == "tutorial-attention" else LONGEST

    def most_target_tokens(self, source_tokens: int) -> int:
        """Return the most tokens of a translation of `source_tokens`, the end of both sentences counted."""
        if self.model != "translator":
            return POSITIONS
        return 2 * source_tokens + 10  # every pair of zh-en and of cmn-eng fits, from and into Chinese

    @property
    def products(self) -> Any:
        """Dtype that operands of matrix products are rounded to; None for their own."""
        return None if self.precision == "float32" else jnp.bfloat16

    def notes(self, target_words: int) -> list[str]:
        """Return a note where the target vocabulary is so large that a sampled softmax saves most of a step's time."""
        if self.sampled or self.model != "translator" or target_words <= SAMPLE_ABOVE:
            return []
        return [f"the target has {target_words:,} words: --sampled 2000 trains faster, --min-count 2 has fewer words"]

    def build(self, training: bool = False) -> Seq2Seq:
        """Return the model that these settings describe; the one for `training` multiplies in their precision."""
        config = self if training else dataclasses.replace(self, precision="float32")
        return choose("model", self.model, MODELS)(config)


def _translator(config: TranslateConfig) -> Seq2Seq:
    if config.attention == "positional":
        raise InputError(
            "--attention positional belongs to the model tutorial-attention; ours reads the source, such as additive"
        )
    return translator(
        find_cell(config.cell), ATTENTIONS[config.attention], config.layers, config.dropout,
        decoder_layers=config.decoder_layers, residual=config.residual, layer_norm=config.layer_norm, tie=config.tie,
        input_feeding=config.input_feeding, word_dropout=config.word_dropout, products=config.products,
    )  # fmt: skip


MODELS = {
    "translator": _translator,
    "tutorial-plain": lambda config: plain,
    "tutorial-attention": lambda config: attentive(POSITIONS, config.dropout),
}
"""How each model is built from the settings."""

_TABLES: dict[str, Mapping[str, object]] = {
    "attention": ATTENTIONS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES,
    "normalise": NORMALISERS, "source_tokens": TOKENISERS, "target_tokens": TOKENISERS, "model": MODELS,
}  # fmt: skip
"""The settings that are names, and what each may be."""

_TUTORIAL = TranslateConfig(
    normalise="tutorial",
    source_tokens="words",
    prefix_filter=True,
    max_tokens=9,
    validation=0.0,
    embedding=256,
    hidden=256,
    steps=20_000,
    batch=1,
    replacement=True,
    buckets=1,
    schedule="constant",
    warmup=0,
    clip=0.0,
    label_smoothing=0.0,
    loss="sentences",
    forcing_start=0.5,
    forcing_per="sequence",
    report_every=500,
    patience=0,
)

PRESETS: dict[str, TranslateConfig] = {
    "default": TranslateConfig(),
    "tutorial-plain": dataclasses.replace(
        _TUTORIAL, model="tutorial-plain", optimizer="adam", learning_rate=0.01, dropout=0.0
    ),
    "tutorial-attention": dataclasses.replace(
        _TUTORIAL, model="tutorial-attention", optimizer="sgd", learning_rate=0.01, dropout=0.1
    ),
}
"""Settings by name; an option given with a preset overrides it."""
