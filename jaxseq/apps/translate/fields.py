"""The settings of a translator, in the groups that the help shows."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxseq.apps.settings import Default


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Pairs to train and measure on, and where they are read from."""

    data: str | tuple[str, ...] = "zh-en"
    """Pairs to train on: a table (.tsv, .txt, .csv), JSON lines (.jsonl), two files that end with the languages (a.de
    a.en, or their common beginning, a), any of them as .gz; - for standard input; a downloaded data set (cmn-eng); the
    shipped corpus (zh-en). Several are one corpus."""
    weights: tuple[float, ...] = ()
    """A number for each corpus: its share of the pairs that training sees. Without, each pair is seen as often."""
    dev: str | tuple[str, ...] = ""
    """Pairs that choose the best checkpoint, given as data is; instead of holding some back."""
    test: str | tuple[str, ...] = ""
    """Pairs that measure the translator after training, given as data is."""
    leaks: Literal["keep", "remove"] = "keep"
    """Training pairs that share a sentence with dev or test pairs: keep and count them, or remove them."""
    prepared: str = ""
    """For more pairs than memory holds: a folder for their token numbers, written once, and read while training."""
    source: str = "zh"
    """Language translated from: the end of a file's name, a column or a key."""
    target: str = "en"
    """Language translated into."""
    columns: tuple[str, str] = ("en", "zh")
    """Languages of the first two columns, in a table without a header line that names them."""
    source_column: str = ""
    """Where the source is, if not named by its language: a column's name or number, or a key (a.b for b in a)."""
    target_column: str = ""
    """Where the target is."""
    prefix_filter: bool = False
    """Keep only the tutorial's pairs: under 10 words, English beginning with i am, he is and so on."""
    max_tokens: int = 40
    """Pairs with a longer side are left out, and counted; with subwords their words and characters count."""
    validation: float = 0.05
    """Share of pairs held back to choose the best checkpoint; 0 trains on all."""


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """Normalising, tokens and vocabularies."""

    normalise: str = "plain"
    """How text is normalised: plain or tutorial."""
    source_tokens: str = "chars"
    """Kind of source tokens: chars (each character of a script without spaces, each word of the others), words, or
    subwords (pieces of words)."""
    target_tokens: str = "words"
    """Kind of target tokens."""
    subwords: int = 0
    """Pieces of words, learnt from the training part, that are the tokens: at most this many, 0 for none. Of both
    languages, or only of one whose tokens are named subwords."""
    shared: bool = False
    """One vocabulary, and one set of pieces, for both languages."""
    case: Literal["lower", "keep", "restore"] = "restore"
    """Capital letters: lower writes small ones only, keep learns words as they are, restore learns small letters and
    gives sentence beginnings, names and the like their capitals again."""
    min_count: int = 1
    """Tokens rarer than this in the training part become UNK."""


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """The network: its cell, attention and sizes."""

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


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Steps, batches and the optimizer."""

    init_from: str = ""
    """Run folder of a translator to fine-tune: its parameters, vocabularies and settings of the model are taken."""
    steps: int = Default(3000)
    """Train steps in all."""
    epochs: float = 0.0
    """Passes over the training pairs, instead of --steps; above 100 steps rounded to a multiple of 20."""
    batch: int = 32
    """Pairs in a step."""
    accumulate: int = 1
    """Batches in a step: its gradient is that of one batch this many times as large, in the memory of one."""
    batch_tokens: int = 0
    """Instead, tokens of the longer side in a step, padding counted, so that steps of long pairs have fewer; 0 for
    none."""
    replacement: bool = False
    """Draw pairs at random with replacement, instead of one permutation after another."""
    buckets: int = 4
    """Most groups of like length, cut so that the least is padded; each is one compiled program."""
    optimizer: str = "adam"
    """adam, adamw, sgd, momentum, nesterov, nadam, nadamw, radam, adabelief, adagrad, rmsprop, lamb or lion."""
    learning_rate: float = 3e-3
    """Highest learning rate."""
    schedule: str = "cosine"
    """Learning rate over time: constant, cosine, inverse-sqrt, or plateau (constant until reports get no better)."""
    warmup: int = 50
    """Steps over which the learning rate rises from 0."""
    plateau_factor: float = 0.5
    """By which the schedule plateau multiplies the learning rate."""
    plateau_patience: int = 2
    """Reports without improvement before it does."""
    weight_decay: float | None = None
    """Decoupled weight decay of matrices, never of biases and norms, with adamw, nadamw, lamb or lion. None: optax's
    own, for all parameters."""
    ema: float = 0.0
    """Decay of a moving average of the parameters, such as 0.999, which is validated, saved and used; 0 for none."""
    average: int = 0
    """Validate, save and use the mean of the parameters at the last N reports; 0 uses those of the last report."""
    clip: float = 1.0
    """Largest global gradient norm; 0 for no clipping."""
    label_smoothing: float = 0.1
    """Probability mass spread over all tokens in the loss that is minimised; reported losses are without."""


@dataclasses.dataclass(frozen=True)
class ObjectiveSettings:
    """The loss, and teacher forcing."""

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


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """Reports, checkpoints and stopping."""

    report_every: int = 500
    """Steps between reports, validation and checkpoints."""
    snapshots: int = 0
    """Parameters kept in the run folder at this many steps, evenly on a logarithmic scale; 0 for none."""
    patience: int = 8
    """Reports without improvement before stopping; 0 goes on to the end."""
    best: Literal["loss", "bleu"] = "loss"
    """Criterion of the best checkpoint: the validation loss, or BLEU of greedy translations of at most 300 pairs
    held back."""
    seed: int = 0
    """Of weights, data order, dropout and split."""
