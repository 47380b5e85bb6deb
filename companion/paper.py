"""What the paper states, and nothing else: published numbers (as the strings in print), claims.

Every value carries its source:

* ``[A]`` the abstract or a figure caption (arXiv 2403.17327, IEEE Access 12 (2024), doi 10.1109/ACCESS.2024.3447770);
* ``[C]`` the authors' code release: model code, figures, names of the released checkpoints. No training, data or
  evaluation code is released;
* ``[I]`` inferred from these, with the reason beside it;
* ``[-]`` not stated in the material at hand.

The full text was not at hand. What does not stand here is not known, and is never guessed silently.
"""

from dataclasses import dataclass

TITLE = (
    "Accuracy Enhancement Method for Speech Emotion Recognition from Spectrogram using Temporal Frequency "
    "Correlation and Positional Information Learning through Knowledge Transfer"
)

SOURCES = {
    "A": "abstract or figure caption",
    "C": "the authors' code release",
    "I": "inferred, with the reason",
    "-": "not stated in the material at hand",
}


@dataclass(frozen=True)
class Published:
    """One published accuracy. ``value`` is the printed string: its decimals are part of the evidence."""

    corpus: str
    model: str
    image: str  # pixels, height x width
    value: str  # weighted accuracy in per cent
    source: str = "C"  # the released checkpoint's file name


PUBLISHED = (
    Published("savee", "teacher", "128x128", "98.17"),
    Published("emodb", "teacher", "128x128", "96.96"),
    Published("crema-d", "teacher", "128x128", "92.64"),
    Published("crema-d", "teacher", "128x1001", "92.0558"),
    Published("savee", "student", "128x128", "98.95"),
    Published("emodb", "student", "128x128", "98.83"),
    Published("crema-d", "student", "128x128", "94.07"),
)


@dataclass(frozen=True)
class ReportedResult:
    """What another system reached on speakers that it was not trained on, in per cent, as its source prints it."""

    corpus: str
    split: str
    measure: str  # "WA" or "UA"
    value: str
    system: str
    network: str  # as serlib.flops.reference_networks names it; "" where it is not counted
    source: str


_W2V2 = "github.com/audeering/w2v2-how-to"
_EAR = "github.com/nttcslab/eval-audio-repr"
ANCHORS = (
    ReportedResult(
        "emodb",
        "leave one speaker out",
        "UA",
        "93.4",
        "wav2vec2-large-robust tuned on MSP-Podcast, SVC",
        "wav2vec 2.0 large",
        _W2V2,
    ),
    ReportedResult("emodb", "leave one speaker out", "UA", "77.1", "openSMILE ComParE 2016, SVC", "", _W2V2),
    ReportedResult("crema-d", "63/9/19 disjoint actors", "WA", "76.9", "Dasheng 1.2B", "", _EAR),
    ReportedResult(
        "crema-d", "63/9/19 disjoint actors", "WA", "65.5", "wav2vec 2.0 large (960h-lv60)", "wav2vec 2.0 large", _EAR
    ),
    ReportedResult("crema-d", "63/9/19 disjoint actors", "WA", "58.4", "AST", "AST", _EAR),
)


@dataclass(frozen=True)
class PublishedConfusion:
    """A confusion matrix shown in the code release [C]: rows are true classes, columns predictions, counts."""

    corpus: str
    classes: tuple[str, ...]  # in the printed order, under the printed names
    matrix: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        return sum(map(sum, self.matrix))

    @property
    def right(self) -> int:
        return sum(row[i] for i, row in enumerate(self.matrix))

    @property
    def row_sums(self) -> dict[str, int]:
        return dict(zip(self.classes, map(sum, self.matrix), strict=True))


CONFUSIONS = {
    "savee": PublishedConfusion(
        "savee",
        ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
        (
            (48, 0, 0, 0, 0, 0, 0),
            (0, 48, 0, 0, 0, 0, 0),
            (0, 0, 48, 0, 0, 0, 0),
            (0, 0, 0, 48, 0, 0, 0),
            (0, 0, 0, 0, 96, 0, 0),
            (0, 0, 0, 0, 1, 47, 0),
            (0, 0, 0, 1, 0, 0, 47),
        ),
    ),
    # The rows named sadness and neutral sum to 63 and 49, but EmoDB has 62 sad and 79 neutral utterances: swapped names.
    "emodb": PublishedConfusion(
        "emodb",
        ("anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral"),
        (
            (102, 0, 0, 0, 0, 0, 0),
            (0, 65, 0, 0, 0, 0, 0),
            (0, 0, 37, 0, 0, 0, 0),
            (0, 0, 0, 55, 0, 0, 0),
            (0, 0, 0, 0, 57, 0, 0),
            (0, 0, 0, 0, 0, 63, 0),
            (0, 0, 0, 0, 0, 1, 48),
        ),
    ),
    "crema-d": PublishedConfusion(
        "crema-d",
        ("anger", "disgust", "fear", "happiness", "neutral", "sadness"),
        (
            (994, 4, 5, 10, 4, 0),
            (8, 949, 11, 13, 12, 24),
            (7, 11, 952, 9, 8, 30),
            (11, 12, 7, 970, 9, 8),
            (1, 9, 11, 7, 825, 16),
            (1, 9, 12, 4, 10, 981),
        ),
    ),
}


@dataclass(frozen=True)
class Claim:
    """A claim of the abstract [A], in the abstract's words shortened, and the notebooks that test it."""

    key: str
    says: str
    notebooks: tuple[str, ...]


CLAIMS = (
    Claim(
        "vertical patches",
        "Vertically segmented patches let the transformer correlate frequencies with the time they were uttered.",
        ("fig6_attention",),
    ),
    Claim(
        "coordinate encoding",
        "Pixel coordinates in [-1, 1], concatenated to the image, give the transformer absolute position.",
        ("fig3_coordinates", "audit_permutation", "audit_position"),
    ),
    Claim(
        "transfer",
        "Matching feature maps by L1 passes the teacher's locality and position on to a student that has neither.",
        ("fig8_similarity", "audit_permutation", "audit_position"),
    ),
    Claim(
        "accuracy",
        "The method significantly outperforms the state of the art in weighted accuracy on SAVEE, EmoDB and CREMA-D.",
        ("table2_accuracy", "fig7_confusion", "audit_granularity", "audit_splits"),
    ),
    Claim("cost", "It does so with significantly fewer floating-point operations.", ("table3_cost",)),
)

# Settings of the method and where each comes from; shown in the settings table beside what this project chose.
STATED = {
    "image": ("128 x 128, one channel, low frequencies at the bottom, silence black", "A, C"),
    "patch": ("128 x 1: one full-height column, 128 tokens and a class token", "A, C"),
    "stem": ("six 3x3 convolutions: 16, 32, 64, 32, 16, 1 channels, InstanceNorm, GELU (teacher only)", "A, C"),
    "coordinates": ("two channels in [-1, 1] concatenated after the stem (teacher only)", "A, C"),
    "token width": ("256", "C"),
    "teacher": ("depth 6 or 12, 5 or 12 heads of 64", "C"),
    "student": ("depth 3, 5 heads of 64, no stem, no positional encoding", "C"),
    "stages": ("(a) cross entropy; (b) L1 matching; (c) cross entropy + alpha L1; 50 epochs each", "A"),
    "feature map": ("the pooled 256-vector, since the released models return it beside the logits", "I"),
    "spectrogram": ("10 s at a 10 ms hop = 1,001 frames, resized: a second teacher takes 128 x 1001", "I"),
    "MLP width": ("not known", "-"),
    "dropout": ("not known", "-"),
    "alpha": ("not known", "-"),
    "optimiser, rate, schedule": ("not known", "-"),
    "precision": ("not known", "-"),
    "batch size": ("not known; the code's default largest batch is 32", "C"),
    "sampling rate, FFT, mel range": ("not known", "-"),
    "normalisation": ("not known; the loader keeps the first channel of a saved inferno picture", "C"),
    "split": ("not known", "-"),
}
