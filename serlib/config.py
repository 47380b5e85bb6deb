"""Every choice as a field of a frozen dataclass, with its unit and its source, and every run as what it changes.

The comment of a field names its source: ``[A]`` abstract or caption, ``[C]`` code release, ``[I]`` inferred. ``[-]`` is
not stated in the material at hand, so chosen here.

* :class:`Features`, :class:`Model`, :class:`Training`: the kinds of choice; ``TEACHER``, ``STUDENT``: two networks;
* ``RUNS``: what can be trained, by name; an ablation is the one line that it changes, and pages name it as
  ``companion/names.toml`` says;
* ``SCHEDULES``: how long to train.

:mod:`studies.variants` goes beyond the paper.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from serlib.engine.plain import canonical, digest, from_plain, plain  # noqa: F401, for config.digest ...
from serlib.errors import SerlibError

Position = Literal["none", "coordinates"]
Pooling = Literal["class", "mean"]
Match = Literal["pooled", "tokens"]
Precision = Literal["32-true", "bf16-mixed"]  # as Lightning Fabric names them; these train alike on every device

POSITIONS, MATCHES = get_args(Position), get_args(Match)
WIDEST, MOST_CLASSES = 4096, 1000  # pixels of an image, emotions: more is a mistake
MOST_VALUES = 2**27  # of a waveform or a spectrogram: half an hour at 16 kHz is a quarter of it
ORIGINAL = "original"
PERTURBATIONS = (ORIGINAL, "speed", "noise", "time shift")  # shown with the paper's attention figure [C]


def check(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises SerlibError if ``name`` is not a known one."""
    if name not in known:
        raise SerlibError(f"{kind} {name!r} is none of {', '.join(known)}")


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
        if min(self.image_size) < 1 or max(self.image_size) > WIDEST:
            raise SerlibError(f"image_size {self.image_size}: both must be at least 1 pixel and at most {WIDEST}")
        if self.channel < 0:
            raise SerlibError(f"channel {self.channel}: channels are counted from 1; 0 is their mean")
        if self.window_length > self.fft_length:
            raise SerlibError(f"window_length {self.window_length} is longer than fft_length {self.fft_length}")
        if min(self.sample_rate, self.hop_length, self.window_length) < 1 or not 0 < self.seconds < MOST_VALUES:
            raise SerlibError("sample_rate, hop_length, window_length and seconds must be greater than 0")
        if max(self.n_samples, self.n_frames * self.fft_length) > MOST_VALUES:
            raise SerlibError(f"a spectrogram of {self.seconds:g} s in {self.n_frames:,} windows: more is a mistake")

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
    channels: int = 1  # of the image: its brightness [A]
    patch_size: tuple[int, int] = (128, 1)  # pixels, height x width [A]: one full-height column
    stem: tuple[int, ...] = ()  # output channels of the stem's 3x3 convolutions; () is no stem
    position: Position = "none"
    swapped_divisors: bool = False  # True: the release's coordinates, wrong unless the image is square [C]
    width: int = 256  # values of a token [C]
    depth: int = 3  # [C]
    heads: int = 5  # [C]
    head_width: int = 64  # values of a head [C]
    mlp_width: int = 512  # [-]
    pooling: Pooling = "class"  # [C]

    def __post_init__(self) -> None:
        for axis, image, patch in zip(("height", "width"), self.image_size, self.patch_size, strict=True):
            if patch < 1 or image % patch:
                raise SerlibError(f"patch {axis} {patch} does not divide image {axis} {image}")
        if not 1 <= self.num_classes <= MOST_CLASSES:
            raise SerlibError(f"num_classes {self.num_classes} must be at least 1 and at most {MOST_CLASSES}")
        check("position", self.position, POSITIONS)
        check("pooling", self.pooling, get_args(Pooling))
        if self.stem and self.stem[-1] != 1:
            raise SerlibError(f"stem {self.stem}: the last convolution must give 1 channel, the image")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along height and width."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def patch_values(self) -> int:
        """Values of one patch: pixels times channels; coordinates are two more channels [A fig. 3]."""
        channels = 1 if self.stem else self.channels
        return self.patch_size[0] * self.patch_size[1] * (channels + 2 * (self.position == "coordinates"))


@dataclass(frozen=True)
class Training:
    """One stage's schedule; every stage uses the same. ``seed`` draws the weights and the order of the images.

    AdamW. In each stage the learning rate rises and falls once (Smith & Topin 2018); AdamW's beta1 falls and rises.
    """

    epochs: int = 50  # a stage [A fig. 1]
    batch_size: int = 32  # [I]: the released code's default largest batch
    learning_rate: float = 3e-4  # the cycle's peak [-]
    warm_up: float = 0.3  # share of a stage's updates in which the rate rises; PyTorch's default [-]
    first_divisor: float = 25.0  # the first rate is the peak divided by this; PyTorch's default [-]
    last_divisor: float = 1e4  # the last rate is the first divided by this; PyTorch's default [-]
    beta1: tuple[float, float] = (0.85, 0.95)  # AdamW's, at the rate's peak and at its ends; PyTorch's default [-]
    beta2: float = 0.999  # AdamW's; PyTorch's default [-]
    weight_decay: float = 0.01  # of every parameter, norms and biases too; PyTorch's default [-]
    seed: int = 0
    precision: Precision = "32-true"  # predictions are always made in single precision
    log_test_accuracy: bool = False  # note the test set's accuracy after every epoch; it still chooses nothing

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise SerlibError(f"epochs {self.epochs} and batch_size {self.batch_size} must be at least 1")
        check("precision", self.precision, get_args(Precision))


@dataclass(frozen=True)
class Run:
    """A network to train and, for a student with a teacher, how it follows the teacher."""

    model: Model | None  # None: a classifier that is no network of this package, see studies.baselines
    teacher: str | None = None  # name of the run whose network is matched; None: cross entropy alone
    match: Match = "pooled"  # the "feature map": the pooled vector [I] or the token map
    matching_stage: bool = True  # False leaves out stage (b)
    alpha: float = 1.0  # weight of the L1 term in stage (c) [-]
    epoch_factor: int = 1  # times the schedule's epochs

    def __post_init__(self) -> None:
        check("match", self.match, MATCHES)


TEACHER = Model(depth=6, stem=(16, 32, 64, 32, 16, 1), position="coordinates")  # [A figs. 2-4, C]
STUDENT = Model()  # [A fig. 5, C]

_TRANSFER = Run(STUDENT, teacher="teacher")


def _teacher(**change: Any) -> Run:
    return Run(replace(TEACHER, **change))


RUNS: dict[str, Run] = {
    "teacher": Run(TEACHER),
    "student-alone": Run(STUDENT),
    # As many updates as matching and transfer together, in one cycle of the rate where they have two.
    "student-alone-long": Run(STUDENT, epoch_factor=2),
    "student-pooled": _TRANSFER,
    "student-tokens": replace(_TRANSFER, match="tokens"),
    "student-no-matching-stage": replace(_TRANSFER, matching_stage=False),
    "student-alpha-0.1": replace(_TRANSFER, alpha=0.1),
    "student-alpha-10": replace(_TRANSFER, alpha=10.0),
    "student-coordinates": Run(replace(STUDENT, position="coordinates")),
    "student-square-patches": Run(replace(STUDENT, patch_size=(16, 16))),
    "student-horizontal-patches": Run(replace(STUDENT, patch_size=(1, 128))),
    "teacher-square-patches": _teacher(patch_size=(16, 16)),
    "teacher-horizontal-patches": _teacher(patch_size=(1, 128)),
    "teacher-no-stem": _teacher(stem=()),
    "teacher-no-position": _teacher(position="none"),
    "teacher-mean-pooling": _teacher(pooling="mean"),
    "teacher-deep": _teacher(depth=12, heads=12),
}

SCHEDULES = {
    "paper": Training(),  # 50 epochs a stage [A]
    "logged": Training(log_test_accuracy=True),  # shows what choosing the epoch by the test set would have gained
    "short": Training(epochs=8),  # real recordings while the book is built
    "synthetic": Training(epochs=3, batch_size=8),  # synthetic speech: enough to see the losses fall
    "chosen-epochs": Training(epochs=31),  # as many as nine other actors of CREMA-D choose for the student alone
    "search": Training(epochs=16, batch_size=64, learning_rate=6e-4),  # many ways of training beside each other
}
# Each in bf16 mixed precision as well: a schedule's name says its precision, and a record's path its schedule.
SCHEDULES |= {f"{name}-bf16": replace(training, precision="bf16-mixed") for name, training in SCHEDULES.items()}


@dataclass(frozen=True)
class RunConfig:
    """The resolved configuration of one run, as a record holds it."""

    name: str
    run: Run
    schedule: str
    training: Training
    features: Features = field(default_factory=Features)
    beyond: dict[str, Any] = field(default_factory=dict)  # what a variant adds to the paper's method, as JSON values


def resolve(name: str, schedule: str, seed: int, num_classes: int, features: Features | None = None) -> RunConfig:
    """The configuration of run ``name`` for a corpus of ``num_classes`` emotions.

    Raises:
        SerlibError: no run or schedule has that name; the run's patches do not divide the images.
    """
    features = features or Features()
    check("run", name, RUNS)
    check("schedule", schedule, SCHEDULES)
    run, training = RUNS[name], SCHEDULES[schedule]
    run = replace(run, model=replace(run.model, num_classes=num_classes, image_size=features.image_size))
    training = replace(training, seed=seed, epochs=training.epochs * run.epoch_factor)
    return RunConfig(name, run, schedule, training, features)
