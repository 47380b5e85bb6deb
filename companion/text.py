"""Numbers and names to words."""

# How a reader meets each run and baseline.
DISPLAY_NAMES: dict[str, str] = {
    "teacher": "Teacher",
    "student-alone": "Student, no teacher",
    "student-alone-long": "Student, no teacher, twice the epochs",
    "student-pooled": "Student, pooled vector matched",
    "student-tokens": "Student, token map matched",
    "student-no-matching-stage": "Student, no matching stage",
    "student-alpha-0.1": "Student, pooled vector matched, α = 0.1",
    "student-alpha-10": "Student, pooled vector matched, α = 10",
    "student-coordinates": "Student with coordinates, no teacher",
    "student-per-band-norm": "Student with normalised mel bands, no teacher",
    "student-4s": "Student on 4 s, no teacher",
    "teacher-square-patches": "Teacher, square patches",
    "teacher-horizontal-patches": "Teacher, horizontal patches",
    "teacher-no-stem": "Teacher, no stem",
    "teacher-no-position": "Teacher, no position",
    "teacher-learned-position": "Teacher, learned position",
    "teacher-sinusoidal-position": "Teacher, sinusoidal position",
    "teacher-mean-pooling": "Teacher, mean pooling",
    "teacher-deep": "Teacher, 12 blocks of 12 heads",
    "majority": "Majority class",
    "mel-statistics": "Mel statistics + logistic regression",
    "opensmile": "openSMILE + SVM",
    "resnet-18": "ResNet-18",
}


def display_name(run: str) -> str:
    """``Student, no teacher`` for ``student-alone``."""
    return DISPLAY_NAMES[run]
