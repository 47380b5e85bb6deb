"""Runs beyond the paper, by name: variants of the student, and classifiers other than the paper's networks.

A variant changes one or two settings of the student alone, see :data:`VARIANTS`. Variants that gained nothing are gone:
their records stay, and the page on them names the commit that makes them again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from serlib import config
from serlib.config import Features, Model, Run, RunConfig, Training

Layers = tuple[tuple[int, int, int], ...]  # of 3x3 convolutions: channels, stride in frequency, stride in time


@dataclass(frozen=True)
class Variant:
    """The layers between the image and the student's patches, and the kind of images."""

    deltas: bool = False  # two more channels: first and second derivative along time
    convolutions: Layers = ()  # before the patches, which are then full-height columns of the last one's map
    speaker_norm: bool = False  # normalise each speaker's images by the speaker's own, see studies.speaker_norm

    def network(self, model: Model) -> Model:
        """The configuration of the network behind the front; ``model`` configures the plain network."""
        channels, size = 3 if self.deltas else 1, model.image_size
        for channels, *strides in self.convolutions:  # noqa: B007
            size = tuple(-(-pixels // stride) for pixels, stride in zip(size, strides, strict=True))
        patch = (size[0], 1) if self.convolutions else model.patch_size
        return replace(model, image_size=size, channels=channels, patch_size=patch)

    @property
    def adds(self) -> str:
        """The addition in words."""
        words = {
            "first and second derivative along time": self.deltas,
            "light convolutions before the patches": self.convolutions,
            "every speaker's images normalised by the speaker's own": self.speaker_norm,
        }
        return "; ".join(text for text, present in words.items() if present)


LIGHT: Layers = ((16, 2, 1), (32, 2, 2), (64, 2, 1))
SPEAKER_NORM = "-speaker-norm"  # ends the name of a run that also uses unlabelled utterances of the test speakers
VARIANTS: dict[str, Variant] = {
    "student-alone+deltas": Variant(deltas=True),
    "student-alone+convolutions": Variant(convolutions=LIGHT),
    "student-alone+deltas+convolutions": Variant(deltas=True, convolutions=LIGHT),
    "student-alone-speaker-norm": Variant(speaker_norm=True),
    "student-alone-speaker-norm+deltas": Variant(speaker_norm=True, deltas=True),
}

# Classifiers other than the paper's networks, see studies.baselines; their schedule is the paper's where they have one.
BASELINE = "baseline"
_NORMALISED = ("mel-deltas", "egemaps", "opensmile", "resemblyzer", "resnet-18")
BASELINES = ("majority", "mel-statistics", *_NORMALISED, *(name + SPEAKER_NORM for name in _NORMALISED))
RESNETS = ("resnet-18", "resnet-18" + SPEAKER_NORM)  # the baselines that are networks

NAMES = (*config.RUNS, *VARIANTS, *BASELINES)


def resolve(name: str, schedule: str, seed: int, num_classes: int, features: Features | None = None) -> RunConfig:
    """The configuration of a run of the paper, a variant or a baseline for a corpus of ``num_classes`` emotions.

    Raises:
        SerlibError: no run, variant, baseline or schedule has that name, or a baseline is given a schedule.
    """
    config.check("run", name, NAMES)
    if name in BASELINES:
        config.check("schedule of a baseline", schedule, ("paper", BASELINE))
        beyond = {"speaker_norm": True} if name.endswith(SPEAKER_NORM) else {}
        return RunConfig(name, Run(None), BASELINE, Training(seed=seed), features or Features(), beyond)
    if name in config.RUNS:
        return config.resolve(name, schedule, seed, num_classes, features)
    variant, plain = VARIANTS[name], config.resolve("student-alone", schedule, seed, num_classes, features)
    run = replace(plain.run, model=variant.network(plain.run.model))
    return replace(plain, name=name, run=run, beyond=asdict(variant))


def from_beyond(beyond: Mapping[str, Any]) -> Variant:
    """The variant that ``beyond`` of a record or of weights describes.

    Raises:
        SerlibError: no variant that this code has.
    """
    return config.from_plain(Variant, beyond)
