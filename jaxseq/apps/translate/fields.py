"""The settings of a translator, in the groups that the help shows."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxseq.apps.settings import Default


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Pairs to train and measure on, and where to find them in a file."""

    data: str | tuple[str, ...] = "zh-en"
    """Pairs to train on: a table (.tsv, .txt, .csv), JSON lines (.jsonl), two files that end with the languages (a.de
    a.en, or their common beginning, a), any of them as .gz; - for standard input; a downloaded data set (cmn-eng); the
    bundled corpus (zh-en). Several are joined."""
    weights: tuple[float, ...] = ()
    """A number for each corpus: its share of the pairs that training sees. By default all pairs count alike."""
    dev: str | tuple[str, ...] = ""
    """Pairs that choose the best checkpoint, given like --data, instead of pairs held back."""
    test: str | tuple[str, ...] = ""
    """Pairs that measure the translator after training, given like --data."""
    leaks: Literal["keep", "remove"] = "keep"
    """Training pairs that share a sentence with dev or test pairs: keep and count them, or remove them."""
    prepared: str = ""
    """For more pairs than fit into memory: a folder for their token ids, written once and read during training."""
    source: str = "zh"
    """Source language: the end of a file's name, a column or a key."""
    target: str = "en"
    """Target language."""
    columns: tuple[str, str] = ("en", "zh")
    """Languages of the first two columns, in a table without a header line that names them."""
    source_column: str = ""
    """Where the source is, unless named by its language: a column's name or number, or a key (a.b for b in a)."""
    target_column: str = ""
    """Where the target is, likewise."""
    prefix_filter: bool = False
    """Keep only the tutorial's pairs: under 10 words, English beginning with i am, he is and so on."""
    max_tokens: int = 40
    """The most tokens of a side; longer pairs are left out and counted. Subwords count as words and characters."""
    validation: float = 0.05
    """Share of pairs held back to choose the best checkpoint; 0 trains on all."""


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """Normalising, tokens and vocabularies."""

    normalise: str = "plain"
    """How text is normalised: plain or tutorial."""
    source_tokens: str = "chars"
    """Kind of source tokens: chars (characters in scripts without spaces, words in others), words, or subwords."""
    target_tokens: str = "words"
    """Kind of target tokens."""
    subwords: int = 0
    """Number of subwords to learn from the training part, at most; 0 for none. For both languages, or only for one
    whose tokens are subwords."""
    shared: bool = False
    """One vocabulary, and one set of subwords, for both languages."""
    case: Literal["lower", "keep", "restore"] = "restore"
    """Capital letters: lower writes lower case only, keep learns words as they are, restore learns lower case and
    restores the capitals of sentence beginnings, names and the like."""
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
    """Layers of the decoder; the lowest attends, the top gives the logits."""
    residual: bool = False
    """Add the input of each layer above the lowest to its output."""
    layer_norm: bool = False
    """Normalise the input of every layer."""
    tie: Literal["none", "target", "all"] = "none"
    """Tied embeddings: none, target (with the output layer), or all (source too, for a vocabulary that both languages
    share)."""
    input_feeding: bool = False
    """Also feed the decoder the features of its previous step."""
    embedding: int = 192
    """Size of an embedding."""
    hidden: int = 192
    """Hidden units in each direction."""
    dropout: float = 0.3
    """Dropout rate in training: of embeddings, between layers, before the logits."""
    word_dropout: float = 0.0
    """Probability of dropping a whole word's embedding in training."""
    coverage_loss: float = 0.0
    """Weight of the coverage loss, for attending to the same source token again; 1 in See et al. 2017, 0 for none."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the operands of matrix products in training. bfloat16 is for GPUs, and a CPU emulates it; everything
    else, and translation, is in float32."""
    sampled: int = 0
    """Words sampled for the softmax in training, for vocabularies above 20,000; 0 uses all, as validation does."""


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Steps, batches and the optimizer."""

    init_from: str = ""
    """Run folder of a translator to fine-tune: training starts from its parameters, vocabularies and model settings."""
    steps: int = Default(3000)
    """Total train steps."""
    epochs: float = 0.0
    """Passes over the training pairs, instead of --steps; above 100 steps rounded to a multiple of 20."""
    batch: int = 32
    """Pairs in a step."""
    accumulate: int = 1
    """Batches in a step: the gradient is that of a batch this many times as large, in the memory of one."""
    batch_tokens: int = 0
    """Instead of --batch: tokens of the longer side in a step, padding included, so steps of long pairs have fewer
    pairs; 0 for none."""
    replacement: bool = False
    """Draw pairs at random with replacement, instead of one permutation after another."""
    buckets: int = 4
    """Number of groups of similar length, at most, chosen for the least padding; each needs a compiled program."""
    optimizer: str = "adam"
    """adam, adamw, sgd, momentum, nesterov, nadam, nadamw, radam, adabelief, adagrad, rmsprop, lamb or lion."""
    learning_rate: float = 3e-3
    """Highest learning rate."""
    schedule: str = "cosine"
    """Learning rate over time: constant, cosine, inverse-sqrt, or plateau (constant until reports get no better)."""
    warmup: int = 50
    """Steps over which the learning rate rises from 0."""
    plateau_factor: float = 0.5
    """Factor by which the plateau schedule multiplies the learning rate."""
    plateau_patience: int = 2
    """Reports without improvement before the plateau schedule does so."""
    weight_decay: float | None = None
    """Decoupled weight decay of matrices, not of biases and norms, with adamw, nadamw, lamb or lion. None: optax's
    default, for all parameters."""
    ema: float = 0.0
    """Decay of a moving average of the parameters, such as 0.999, which is validated, saved and used; 0 for none."""
    average: int = 0
    """Validate, save and use the mean of the parameters at the last N reports; 0 uses those of the last report."""
    clip: float = 1.0
    """Largest global gradient norm; 0 for no clipping."""
    label_smoothing: float = 0.1
    """Label smoothing of the training loss; reported losses have none."""


@dataclasses.dataclass(frozen=True)
class ObjectiveSettings:
    """The loss, and teacher forcing."""

    loss: Literal["tokens", "sentences", "risk"] = "tokens"
    """tokens: mean over real target tokens; sentences: the tutorial's, the sum of each sentence, reported by its
    length; risk: the expected 1 - BLEU of sampled translations, to train a trained run further."""
    risk_samples: int = 8
    """Translations that --loss risk draws for each source."""
    risk_sharpness: float = 0.005
    """Exponent of the probabilities that weight these translations."""
    forcing: str = "constant"
    """Schedule of teacher forcing: constant, linear or inverse-sigmoid."""
    forcing_start: float = 1.0
    """Initial probability of feeding the true previous token."""
    forcing_end: float = 0.0
    """Final probability, with a linear or inverse-sigmoid schedule."""
    forcing_steps: int = 1000
    """Steps of the teacher-forcing schedule."""
    forcing_per: Literal["step", "sequence"] = "step"
    """Draw teacher forcing for each token, or for each sentence."""


@dataclasses.dataclass(frozen=True)
class ReportSettings:
    """Reports, checkpoints and stopping."""

    report_every: int = 500
    """Steps between reports, validation and checkpoints."""
    snapshots: int = 0
    """Save parameters in the run folder at this many steps, evenly on a logarithmic scale; 0 for none."""
    patience: int = 8
    """Early stopping: reports without improvement before training stops; 0 for never."""
    best: Literal["loss", "bleu"] = "loss"
    """Criterion of the best checkpoint: the validation loss, or BLEU of greedy translations of at most 300 pairs
    held back."""
    seed: int = 0
    """Seed of weights, data order, dropout and split."""
