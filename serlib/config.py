"""Every choice as a field of a frozen dataclass, with its unit and its source, and every run as what it changes.

Sources are those of :mod:`companion.paper`: ``[A]`` abstract or caption, ``[C]`` code release, ``[I]`` inferred,
``[-]`` not stated in the material at hand, so chosen here.

* :class:`Features`, :class:`Model`, :class:`Training`: the three kinds of choice;
* ``TEACHER``, ``STUDENT``: the paper's two networks;
* ``RUNS``: what can be trained, by name; an ablation is the one line that it changes, and pages name it as
  ``companion.text.DISPLAY_NAMES`` says;
* ``SCHEDULES``: how long to train;
* ``STEPS``: what may be added to a run beyond the paper, one thing each: ``student-alone+4s+repeat``.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

if TYPE_CHECKING:
    from pydantic import TypeAdapter

from serlib.errors import SerlibError

Position = Literal["none", "coordinates", "learned", "sinusoidal"]
Pooling = Literal["class", "mean", "spread"]
Fill = Literal["black", "repeat"]
Match = Literal["pooled", "tokens"]
Precision = Literal["32-true", "bf16-mixed"]  # as Lightning Fabric names them; these train alike on every device

Kind = TypeVar("Kind")

POSITIONS, MATCHES = get_args(Position), get_args(Match)
AUGMENTATIONS = ("warp", "masks", "mixup", "tilt")  # see serlib.data.augment
WIDEST, MOST_CLASSES = 4096, 1000  # pixels of an image, emotions: more is a mistake
ORIGINAL = "original"
PERTURBATIONS = (ORIGINAL, "speed", "noise", "time shift")  # shown with the paper's attention figure [C]


def check(what: str, name: str, known: Iterable[str]) -> None:
    """Raises ValueError if ``name`` is none of those known."""
    if name not in known:
        raise SerlibError(f"{what} {name!r} is none of {', '.join(known)}")


def images_name(size: Sequence[int], channel: int) -> str:
    """``128x128`` for the size of images, height x width; with a chosen channel ``128x128-channel2``."""
    return "x".join(map(str, size)) + (f"-channel{channel}" if channel else "")


@dataclass(frozen=True)
class Features:
    """From a waveform to an image. Defaults are the image that the paper's material implies."""

    sample_rate: int = 16_000  # Hz [-]: the rate of EmoDB and CREMA-D; SAVEE is resampled
    fft_length: int = 1024  # samples [-]: long enough that none of 128 mel filters is empty
    window_length: int = 400  # samples: 25 ms, Hann [-]
    hop_length: int = 160  # samples: 10 ms [I]: 10 s give the released 1,001 columns
    mel_bands: int = 128  # [A]: the height of the image
    low_frequency: float = 0.0  # Hz [-]
    high_frequency: float = 8_000.0  # Hz [-]: half the sampling rate
    seconds: float = 10.0  # [I]; longer recordings are cut, shorter ones end in black
    channel: int = 0  # [-]: which channel of a recording, counted from 1; 0: their mean
    dynamic_range: float = 80.0  # dB below the recording's loudest point that is drawn black [-]
    image_size: tuple[int, int] = (128, 128)  # pixels, height x width [A]; (128, 1001) is not interpolated [I]
    colour: Literal["linear", "inferno-red"] = "linear"  # [-]; "inferno-red": first channel of a saved picture [C]

    def __post_init__(self) -> None:
        if self.image_size[0] != self.mel_bands:
            raise SerlibError(f"image_size {self.image_size}: the height must be mel_bands = {self.mel_bands}")
        if min(self.image_size) < 1 or self.image_size[1] > WIDEST:
            raise SerlibError(
                f"image_size {self.image_size}: both must be at least 1 pixel, the width at most {WIDEST}"
            )
        if self.channel < 0:
            raise SerlibError(f"channel {self.channel}: channels are counted from 1; 0 is their mean")
        if self.window_length > self.fft_length:
            raise SerlibError(f"window_length {self.window_length} is longer than fft_length {self.fft_length}")

    @property
    def images(self) -> str:
        """The images' size and, where one was chosen, the channel: ``128x128``, ``128x128-channel2``."""
        return images_name(self.image_size, self.channel)

    @property
    def n_samples(self) -> int:
        return round(self.seconds * self.sample_rate)

    @property
    def n_frames(self) -> int:
        return self.n_samples // self.hop_length + 1


@dataclass(frozen=True)
class Model:
    """One network: teacher, student and every ablation are values of this class. The defaults are the student."""

    num_classes: int = 7
    image_size: tuple[int, int] = (128, 128)  # pixels, height x width [A]
    patch_size: tuple[int, int] = (128, 1)  # pixels, height x width [A]: one full-height column
    stem: tuple[int, ...] = ()  # output channels of the stem's 3x3 convolutions; () is no stem
    position: Position = "none"
    swapped_divisors: bool = False  # True: the release's coordinates, wrong unless the image is square [C]
    width: int = 256  # values of a token [C]
    depth: int = 3  # [C]
    heads: int = 5  # [C]
    head_width: int = 64  # values of a head [C]
    mlp_width: int = 512  # [-]
    dropout: float = 0.0  # [-]
    pooling: Pooling = "class"  # [C]
    per_band_norm: bool = False  # beyond the paper: every band by its mean and spread over the training set's speech
    # Beyond the paper as well, see serlib.frontend:
    window: int = 0  # columns of the image that are looked at at once; 0: all
    fill: Fill = "black"  # where speech is shorter than the window: black, as the image is, or speech again
    segments: int = 1  # windows of an image whose class probabilities are averaged when it is evaluated
    deltas: bool = False  # two more channels: the first and the second derivative along time
    convolutions: tuple[tuple[int, int, int], ...] = ()  # 3x3: channels, stride in frequency, stride in time

    def __post_init__(self) -> None:
        for axis, image, patch in zip(("height", "width"), self.image_size, self.patch_size, strict=True):
            if patch < 1 or image % patch:
                raise SerlibError(f"patch {axis} {patch} does not divide image {axis} {image}")
        if not 0 <= self.window <= self.image_size[1]:
            raise SerlibError(
                f"window {self.window} must be at least 0 and at most the image's {self.image_size[1]} columns"
            )
        if self.columns % self.patch_size[1]:
            raise SerlibError(f"patch width {self.patch_size[1]} does not divide window {self.window}")
        if self.segments < 1 or (self.segments > 1 and self.columns == self.image_size[1]):
            raise SerlibError(
                f"segments {self.segments} must be at least 1, and 1 without a window narrower than the image"
            )
        if any(min(layer) < 1 for layer in self.convolutions):
            raise SerlibError(f"convolutions {self.convolutions}: channels and strides must be at least 1")
        if self.convolutions and self.patch_size != (self.image_size[0], 1):
            raise SerlibError(f"patch_size {self.patch_size}: after convolutions patches are full-height columns")
        check("fill", self.fill, get_args(Fill))
        if not 1 <= self.num_classes <= MOST_CLASSES:
            raise SerlibError(f"num_classes {self.num_classes} must be at least 1 and at most {MOST_CLASSES}")
        check("position", self.position, POSITIONS)
        check("pooling", self.pooling, get_args(Pooling))
        if self.stem and self.stem[-1] != 1:
            raise SerlibError(f"stem {self.stem}: the last convolution must give 1 channel, the image")

    @property
    def columns(self) -> int:
        """Columns that are looked at at once."""
        return self.window or self.image_size[1]

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the window and after each convolution; patches are cut of the last."""
        sizes = [(self.image_size[0], self.columns)]
        for _, *strides in self.convolutions:
            height, width = (-(-size // stride) for size, stride in zip(sizes[-1], strides, strict=True))
            sizes.append((height, width))
        return tuple(sizes)

    @property
    def patch(self) -> tuple[int, int]:
        """A patch's height and width: ``patch_size``, after convolutions a full-height column."""
        return (self.maps[-1][0], 1) if self.convolutions else self.patch_size

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along height and width."""
        return self.maps[-1][0] // self.patch[0], self.maps[-1][1] // self.patch[1]

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def image_channels(self) -> int:
        """Channels that convolutions, or else patches, are made of."""
        return 3 if self.deltas else 1

    @property
    def patch_values(self) -> int:
        """Values of one patch: its pixels, in two further channels with coordinates [A fig. 3]."""
        channels = self.convolutions[-1][0] if self.convolutions else self.image_channels
        return self.patch[0] * self.patch[1] * (channels + 2 * (self.position == "coordinates"))

    @property
    def pooled_width(self) -> int:
        """Values of the vector that the head reads."""
        return 2 * self.width if self.pooling == "spread" else self.width

    @property
    def alone(self) -> bool:
        """Whether only one process by itself can train it: it draws, or norms over the batch."""
        return bool(self.dropout or self.window or self.fill == "repeat" or self.convolutions)


@dataclass(frozen=True)
class Training:
    """One stage's schedule; every stage uses the same. ``seed`` draws the weights and the order of the images."""

    epochs: int = 50  # a stage [A fig. 1]
    batch_size: int = 32  # [I]: the released code's default largest batch
    learning_rate: float = 3e-4  # peak of AdamW's one-cycle schedule [-]
    weight_decay: float = 0.01  # [-]
    seed: int = 0
    precision: str = "32-true"  # as Lightning Fabric names it; predictions are always made in single precision
    augment: tuple[str, ...] = ()  # changes of the training images, of AUGMENTATIONS; in cross entropy alone
    smoothing: float = 0.0  # label smoothing: share of each label that is spread over all classes; likewise
    balance: bool = False  # every class counts the same in the loss, however many images it has; likewise
    ema_decay: float = 0.0  # decay a step of the running mean of the weights that ends every stage in their place
    log_test_accuracy: bool = False  # note the test set's accuracy after every epoch; it still chooses nothing

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise SerlibError(f"epochs {self.epochs} and batch_size {self.batch_size} must be at least 1")
        check("precision", self.precision, get_args(Precision))
        if not set(self.augment) <= set(AUGMENTATIONS):
            raise SerlibError(f"augment {self.augment}: each must be one of {', '.join(AUGMENTATIONS)}")
        for name in ("smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise SerlibError(f"{name} {getattr(self, name)} must be at least 0 and less than 1")
        if self.ema_decay and self.log_test_accuracy:
            raise SerlibError("ema_decay: a mean over epochs cannot be looked at epoch by epoch")

    @property
    def beyond(self) -> bool:
        """Whether something is added that the paper does not name."""
        return bool(self.augment or self.smoothing or self.balance or self.ema_decay)


@dataclass(frozen=True)
class Run:
    """What is trained: a network and, for a student with a teacher, how the teacher is followed."""

    model: Model | None  # None: a baseline
    teacher: str | None = None  # name of the run whose network is matched; None: cross entropy alone
    match: Match = "pooled"  # the "feature map": the pooled vector [I] or the token map
    matching_stage: bool = True  # False leaves out stage (b)
    alpha: float = 1.0  # weight of the L1 term in stage (c) [-]
    seconds: float | None = None  # of sound in the image; None: as Features says
    epoch_factor: int = 1  # times the schedule's epochs
    speaker_norm: bool = False  # beyond the paper: every speaker by its own utterances, see serlib.speaker_norm

    def __post_init__(self) -> None:
        check("match", self.match, MATCHES)
        if self.speaker_norm and self.teacher:
            raise SerlibError(f"speaker_norm: the teacher {self.teacher!r} takes images as they are")


TEACHER = Model(depth=6, stem=(16, 32, 64, 32, 16, 1), position="coordinates")  # [A figs. 2-4, C]
STUDENT = Model()  # [A fig. 5, C]

_TRANSFER = Run(STUDENT, teacher="teacher")


def _teacher(**change: Any) -> Run:
    return Run(replace(TEACHER, **change))


RUNS: dict[str, Run] = {
    "teacher": Run(TEACHER),
    "student-alone": Run(STUDENT),
    "student-alone-long": Run(STUDENT, epoch_factor=2),  # as many updates as matching and transfer together
    "student-pooled": _TRANSFER,
    "student-tokens": replace(_TRANSFER, match="tokens"),
    "student-no-matching-stage": replace(_TRANSFER, matching_stage=False),
    "student-alpha-0.1": replace(_TRANSFER, alpha=0.1),
    "student-alpha-10": replace(_TRANSFER, alpha=10.0),
    "student-coordinates": Run(replace(STUDENT, position="coordinates")),
    "student-square-patches": Run(replace(STUDENT, patch_size=(16, 16))),
    "student-horizontal-patches": Run(replace(STUDENT, patch_size=(1, 128))),
    "student-per-band-norm": Run(replace(STUDENT, per_band_norm=True)),
    "student-4s": Run(STUDENT, seconds=4.0),
    "student-alone-speaker-norm": Run(STUDENT, speaker_norm=True),
    "teacher-square-patches": _teacher(patch_size=(16, 16)),
    "teacher-horizontal-patches": _teacher(patch_size=(1, 128)),
    "teacher-no-stem": _teacher(stem=()),
    "teacher-no-position": _teacher(position="none"),
    "teacher-learned-position": _teacher(position="learned"),
    "teacher-sinusoidal-position": _teacher(position="sinusoidal"),
    "teacher-mean-pooling": _teacher(pooling="mean"),
    "teacher-deep": _teacher(depth=12, heads=12),
}

# Classifiers other than the paper's networks, see serlib.baselines; their schedule is the paper's where they have one.
SPEAKER_NORM = "-speaker-norm"  # ends the name of a run that also knows unlabelled utterances of the test speakers
_NORMALISED = ("mel-deltas", "egemaps", "opensmile", "resemblyzer", "resnet-18")
BASELINES = ("majority", "mel-statistics", *_NORMALISED, *(name + SPEAKER_NORM for name in _NORMALISED))
RESNETS = ("resnet-18", "resnet-18" + SPEAKER_NORM)  # the baselines that are networks
BASELINE = "baseline"

# The paper's schedule with what the paper does not name, one thing at a time, then two: what a student can reach beyond it.
BEYOND = {kind: Training(augment=(kind,)) for kind in ("warp", "masks", "mixup")} | {
    "smooth": Training(smoothing=0.1),
    "balance": Training(balance=True),
    "ema": Training(ema_decay=0.99),
    "warp-ema": Training(augment=("warp",), ema_decay=0.99),
    "warp-longer": Training(augment=("warp",), epochs=200),
}

SCHEDULES = {
    "paper": Training(),  # 50 epochs a stage [A]
    "logged": Training(log_test_accuracy=True),  # shows what choosing the epoch by the test set would have gained
    "short": Training(epochs=8),  # real recordings while the book is built
    "synthetic": Training(epochs=6, batch_size=8),  # synthetic speech: enough to see the losses fall
    "search": Training(epochs=16, batch_size=64, learning_rate=6e-4),  # many ways of training beside each other
    **BEYOND,
}
# Each in bf16 mixed precision as well: a schedule's name says its precision, and a record's path its schedule.
SCHEDULES |= {f"{name}-bf16": replace(training, precision="bf16-mixed") for name, training in SCHEDULES.items()}


@dataclass(frozen=True)
class Step:
    """One thing that is added to a run beyond the paper: the fields that it changes."""

    adds: str  # what, in words
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)  # ``augment`` comes after what is there
    seconds: float | None = None  # of sound in the window: its columns depend on the image
    epoch_factor: int = 1  # times the run's


STEPS = {
    "3s": Step("a window of three seconds", seconds=3.0),
    "4s": Step("a window of four seconds", seconds=4.0),
    "repeat": Step("speech repeated where it is shorter than the window", {"fill": "repeat"}),
    "segments": Step("three windows of a recording averaged", {"segments": 3}),
    "deltas": Step("first and second derivative along time", {"deltas": True}),
    "convolutions": Step(
        "light convolutions before the patches", {"convolutions": ((16, 2, 1), (32, 2, 2), (64, 2, 1))}
    ),
    "spread": Step("mean and standard deviation of the tokens before the classifier", {"pooling": "spread"}),
    "sinusoidal": Step("sinusoidal position encoding", {"position": "sinusoidal"}),
    "dropout": Step("dropout", {"dropout": 0.1}),
    "warp": Step("speaking rate and vocal tract length changed", training={"augment": ("warp",)}),
    "masks": Step("bands and columns masked", training={"augment": ("masks",)}),
    "tilt": Step("spectral tilt changed", training={"augment": ("tilt",)}),
    "mixup": Step("images and labels mixed", training={"augment": ("mixup",)}),
    "smooth": Step("label smoothing", training={"smoothing": 0.1}),
    "balance": Step("classes weighted equally", training={"balance": True}),
    "ema": Step("running mean of the weights", training={"ema_decay": 0.99}),
    "longer": Step("twice the epochs", epoch_factor=2),
}


@dataclass(frozen=True)
class RunConfig:
    """The resolved configuration of one run, as a record holds it."""

    name: str
    run: Run
    schedule: str
    training: Training
    features: Features = field(default_factory=Features)


def resolve(name: str, schedule: str, seed: int, num_classes: int, features: Features | None = None) -> RunConfig:
    """The configuration of run or baseline ``name`` for a corpus of ``num_classes`` emotions.

    ``name`` may add steps to a run: ``student-alone+4s+repeat``. They change it in that order.

    Raises:
        ValueError: no run, step or schedule has that name; steps of a baseline or of a student with a teacher; two steps
            that change the same; a step that the run's network cannot take.
    """
    features = features or Features()
    check("schedule", schedule, SCHEDULES)
    base, *steps = name.split("+")
    check("run", base, (*RUNS, *BASELINES))
    for step in steps:
        check("step", step, STEPS)
    if base in BASELINES:
        if steps:
            raise SerlibError(f"run {name!r}: a baseline takes no steps")
        normalised = name.endswith(SPEAKER_NORM)
        return RunConfig(name, Run(None, speaker_norm=normalised), BASELINE, Training(seed=seed), features)
    run, training = RUNS[base], SCHEDULES[schedule]
    if run.teacher and steps:
        raise SerlibError(f"run {name!r}: a student with a teacher takes no steps")
    features = replace(features, seconds=run.seconds or features.seconds)
    model = {"num_classes": num_classes, "image_size": features.image_size}
    learning = {"seed": seed, "augment": training.augment}
    for i, step in enumerate(map(STEPS.get, steps)):
        if steps[i] in steps[:i]:
            raise SerlibError(f"run {name!r}: step {steps[i]!r} is named twice")
        if step.seconds:
            if "window" in model:
                raise SerlibError(f"run {name!r}: step {steps[i]!r} gives it a second window")
            model["window"] = round(step.seconds / features.seconds * features.image_size[1])
        model |= step.model
        added = (*learning["augment"], *step.training.get("augment", ()))
        learning |= {**step.training, "augment": tuple(dict.fromkeys(added))}
        run = replace(run, epoch_factor=run.epoch_factor * step.epoch_factor)
    run = replace(run, model=replace(run.model, **model))
    training = replace(training, **learning, epochs=training.epochs * run.epoch_factor)
    if run.speaker_norm and "tilt" in training.augment:
        raise SerlibError(f"run {name!r}: step 'tilt' changes levels in [0, 1], not those of normalised images")
    return RunConfig(name, run, schedule, training, features)


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, for JSON."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


@cache
def _adapter(kind: type) -> "TypeAdapter":
    from pydantic import TypeAdapter  # here, because reading this module must not wait for it

    return TypeAdapter(kind)


def from_plain(kind: type[Kind], values: Any) -> Kind:
    """The dataclass ``kind`` from what :func:`plain` and JSON made of one, as :func:`from_json`."""
    return from_json(kind, json.dumps(values))


def from_json(kind: type[Kind], text: str, extra: Literal["forbid", "ignore"] = "forbid") -> Kind:
    """The dataclass ``kind`` from a JSON text; defaults where a field is missing.

    Raises:
        ValueError: a field is unknown (unless ``extra`` says to ignore it), missing without a default, of another type,
            or of a value that the class refuses; one line.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(text, strict=True, extra=extra)
    except ValidationError as error:
        raise SerlibError("; ".join(map(_reason, error.errors()))) from error


def _reason(error: Mapping[str, Any]) -> str:
    where = ".".join(map(str, error["loc"]))
    return f"{where}: {error['msg']}".removeprefix(": ").replace("Value error, ", "")


def digest(*configs: Any) -> str:
    """SHA-256 (hex) over dataclasses and plain values, the same on every machine."""
    canonical = json.dumps([plain(value) for value in configs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
