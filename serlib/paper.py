"""What the paper states, and nothing else: published numbers (as the strings in print), corpus facts, claims.

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
class CorpusFacts:
    """What is known of a corpus before any file of it is opened.

    ``class_counts`` is in the alphabetical order of the emotions; ``codes`` maps the code in a file name to its emotion.
    """

    name: str
    title: str
    language: str
    speakers: int
    class_counts: dict[str, int]
    codes: dict[str, str]
    sample_rate: int  # Hz
    durations: str  # as reported
    terms: str
    reference: str  # BibTeX key in book/references.bib

    @property
    def emotions(self) -> tuple[str, ...]:
        return tuple(sorted(self.class_counts))

    @property
    def utterances(self) -> int:
        return sum(self.class_counts.values())


SAVEE = CorpusFacts(
    name="savee",
    title="SAVEE",
    language="British English",
    speakers=4,
    class_counts=dict.fromkeys(("anger", "disgust", "fear", "happiness", "sadness", "surprise"), 60) | {"neutral": 120},
    codes={
        "a": "anger",
        "d": "disgust",
        "f": "fear",
        "h": "happiness",
        "n": "neutral",
        "sa": "sadness",
        "su": "surprise",
    },
    sample_rate=44_100,
    durations="about 2-7 s",
    terms="research only, on registration; never redistributed",
    reference="savee",
)

EMODB = CorpusFacts(
    name="emodb",
    title="EmoDB",
    language="German",
    speakers=10,
    class_counts={
        "anger": 127,
        "boredom": 81,
        "disgust": 46,
        "fear": 69,
        "happiness": 71,
        "neutral": 79,
        "sadness": 62,
    },
    codes={
        "W": "anger",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happiness",
        "N": "neutral",
        "T": "sadness",
    },
    sample_rate=16_000,
    durations="1.23-8.98 s, mean 2.78 s, 1,487 s in all",
    terms="free; catalogued as CC0-1.0 by one registry of the field, CC BY 4.0 by another toolkit",
    reference="emodb",
)

CREMA_D = CorpusFacts(
    name="crema-d",
    title="CREMA-D",
    language="American English",
    speakers=91,
    class_counts=dict.fromkeys(("anger", "disgust", "fear", "happiness", "sadness"), 1_271) | {"neutral": 1_087},
    codes={
        "ANG": "anger",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "happiness",
        "NEU": "neutral",
        "SAD": "sadness",
    },
    sample_rate=16_000,
    durations="1.27-5.01 s, mean 2.54 s, 5.26 h in all",
    terms="ODbL 1.0, contents DbCL 1.0",
    reference="cremad",
)

CORPORA = {facts.name: facts for facts in (SAVEE, EMODB, CREMA_D)}


def title(corpus: str) -> str:
    """A corpus's name as it is written in prose; of a corpus of one's own, the name given."""
    return CORPORA[corpus].title if corpus in CORPORA else corpus


# Defects of CREMA-D known before any file is opened, by name: they are excluded by name and listed in every record.
CREMA_D_SILENT = ("1076_MTI_SAD_XX.wav",)
CREMA_D_IDENTICAL = (
    ("1006_TIE_HAP_XX.wav", "1006_TIE_NEU_XX.wav"),
    ("1013_WSI_DIS_XX.wav", "1013_WSI_SAD_XX.wav"),
    ("1017_IWW_ANG_XX.wav", "1017_IWW_FEA_XX.wav"),
)
CREMA_D_DEFECTIVE = frozenset((*CREMA_D_SILENT, *(name for pair in CREMA_D_IDENTICAL for name in pair)))


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
class Anchor:
    """What another system reached on speakers that it was not trained on, in per cent, as its source prints it."""

    corpus: str
    split: str
    measure: str  # "WA" or "UA"
    value: str
    system: str
    network: str  # as serlib.flops.others names it; "" where it is not counted
    source: str


_W2V2 = "github.com/audeering/w2v2-how-to"
_EAR = "github.com/nttcslab/eval-audio-repr"
ANCHORS = (
    Anchor(
        "emodb",
        "leave one speaker out",
        "UA",
        "93.4",
        "wav2vec2-large-robust tuned on MSP-Podcast, SVC",
        "wav2vec 2.0 large",
        _W2V2,
    ),
    Anchor("emodb", "leave one speaker out", "UA", "77.1", "openSMILE ComParE 2016, SVC", "", _W2V2),
    Anchor("crema-d", "63/9/19 disjoint actors", "WA", "76.9", "Dasheng 1.2B", "", _EAR),
    Anchor(
        "crema-d", "63/9/19 disjoint actors", "WA", "65.5", "wav2vec 2.0 large (960h-lv60)", "wav2vec 2.0 large", _EAR
    ),
    Anchor("crema-d", "63/9/19 disjoint actors", "WA", "58.4", "AST", "AST", _EAR),
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
    Claim(
        "cost",
        "It does so with significantly fewer floating-point operations.",
        ("table3_cost",),
    ),
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
