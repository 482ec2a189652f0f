"""Gradual unfreezing: the cut falls stage by stage, so that what lies lower changes later, and less.

The states are those at the lowest cut. The head, and the stages that are awake, are trained; a stage that still sleeps
stays as it is to the bit and computes in evaluation mode. One schedule of rates spans all phases, and the epoch that
is kept may be any of them.

Sources: Howard & Ruder 2018, arXiv:1801.06146, section 3.3 (gradual unfreezing, a rate per layer); Yosinski et al.
2014, arXiv:1411.1792 (early layers transfer, late ones specialise); Kumar et al. 2022, arXiv:2202.10054 (a head that
is solved first keeps the features from harm). Even phases over half of the epochs are our choice.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from regraft.contracts.strategy import Asked, Needs, Preset, Problem, Strategy
from regraft.strategies import finetune
from regraft.strategies._options import count, not_negative, refuse_others, share
from regraft.values import Event


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a recipe may set for `gradual`."""

    thaw_share: float = 0.5
    """Share of all epochs, in [0, 1), over which the stages wake one after the other, from the top down; in the rest
    all of them are trained."""
    phase_epochs: int = 0
    """Epochs of each phase before the last, in place of `thaw_share`; where `epochs` would end before the last phase,
    there are as many more of them. 0: as `thaw_share` says."""
    stages_per_phase: int = 1
    """Stages that wake together."""
    lr: float = 1e-4
    """Peak learning rate of the highest stage (AdamW)."""
    head_lr_factor: float = 10.0
    """Peak rate of the head, as a multiple of `lr`."""
    decay: float = 0.8
    """Factor on the rate from each stage to the one below it, in (0, 1]."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, a share per unit of rate; on weights of layers, not on biases and norms."""
    epochs: int = 20
    """Passes over the training examples, all phases together."""
    min_steps: int = 150
    """Small data get more epochs than `epochs`, until there are this many steps in all."""
    batch: int = 32
    """Examples per step, at most: an epoch is cut into batches of like size."""
    warmup_share: float = 0.1
    """Share of all steps, in [0, 1], over which the rates rise evenly to their peaks; a cosine to zero follows."""
    patience: int = 8
    """Epochs of the last phase without a lower validation loss before training stops; 0: never. The best epoch of all
    phases is kept. Without validation examples (fewer than fifty count as none) the number of steps is fixed."""
    smoothing: float = 0.0
    """Label smoothing of the training loss, in [0, 1)."""
    balanced: bool = False
    """Whether every class weighs the same in training and validation loss, however frequent it is."""
    batch_norm: Literal["frozen", "train"] = "frozen"
    """What happens to batch norm's statistics in stages that are awake (scales and shifts are always trained there):
    `frozen` keeps them; `train` follows the batches, of two examples or more."""
    dropout: float = 0.0
    """Dropout before the head, in [0, 1)."""
    clip_norm: float = 1.0
    """Largest Euclidean norm of the gradient, which is scaled down to it; 0: no limit."""
    init: Literal["zero", "probe"] = "probe"
    """Where the head starts: at the solved linear probe of the untouched backbone, and then the highest stages are
    awake at once; or at zero, and then the first phase trains the head alone."""
    half: bool = False
    """Whether training computes in bfloat16 on CUDA and on processors made for it (AVX512-BF16, AMX): less exact; wide
    convolutions gain time, depthwise ones lose it. Elsewhere it changes nothing."""


PRESETS = {
    "gradual": Preset(
        title="the head, then stage after stage from the top down to the cut, from the solved probe head on",
        cut=None,
        options={},
        views=4,
    )
}


def fit(problem: Problem, options: Options) -> Iterator[Event]:
    """Train on `problem`, yielding events as it goes and one `Fitted` at the end.

    Raises:
        BadRecipe: an option is out of range.
        BadData: there is one training example, and batch norm is to measure its statistics.
        TrainingFailed: a loss or a weight is no longer finite.
        RunError: the folder holds the checkpoint of another run.
    """
    from regraft.strategies._phases import Phases

    check(options)
    phases = Phases(
        stages=len(problem.backbone.cuts) - 1 - problem.backbone.cuts.index(problem.cut),
        first=options.stages_per_phase if options.init == "probe" else 0,
        together=options.stages_per_phase,
        share=options.thaw_share,
        epochs=options.phase_epochs,
    )
    settings = {"strategy": "gradual", **asdict(options)}
    yield from finetune.tune(problem, finetune.shared(options), settings=settings, phases=phases)


def check(options: Options) -> None:
    """Raises: BadRecipe: a value lies outside its range; the message says which."""
    held = {
        "thaw_share": share(options.thaw_share),
        "phase_epochs": not_negative(options.phase_epochs),
        "stages_per_phase": count(options.stages_per_phase),
    }
    refuse_others(options, held)
    finetune.check(finetune.shared(options), Options())


def needs(options: Options) -> Needs:
    """Whatever `finetune` needs with the options that they share."""
    return finetune.needs(finetune.shared(options))


def check_asked(options: Options, asked: Asked) -> None:
    """Raises: BadRecipe: an option makes no sense for this task; the message says which."""
    finetune.check_asked(finetune.shared(options), asked)


ENTRY = Strategy(Options=Options, presets=PRESETS, needs=needs, check=check, check_asked=check_asked, fit=fit)
