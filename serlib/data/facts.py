"""What is known of the three corpora before a file is opened: counts, codes in file names, terms, known defects.

Sources stand beside the values; ``book/references.bib`` holds the references.
"""

from dataclasses import dataclass


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
    codes={"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "N": "neutral", "T": "sadness"},
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
    codes={"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness"},
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
