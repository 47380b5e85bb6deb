"""File names to one table of utterances, with every problem found before work starts.

* :func:`load`: SAVEE, EmoDB, CREMA-D from their real folders, or any corpus from a CSV file;
* :func:`check_counts`: what the paper's corpus facts say against what is there;
* :func:`save` and :func:`read`: the table as CSV, excluded files included;
* :func:`versions`: every utterance as it is and perturbed.

What cannot be used is excluded by name with its reason, travels with the table into every record, and stops the work
only when ``strict``.
"""

import csv
import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from serlib import config
from serlib.data import facts
from serlib.files import atomic_write, sha256

Speech = Literal["recordings", "synthetic"]

EXAMPLES = {name: known.example for name, known in facts.CORPORA.items()}


class CorpusError(ValueError):
    """A corpus that cannot be used as it is; the message names the thing and the remedy."""


@dataclass(frozen=True)
class Utterance:
    """One recording. ``key``, its file name, is the same wherever the folder lies; ``text`` is a code, not words."""

    key: str
    path: Path
    speaker: str
    text: str
    emotion: str
    sha256: str = ""
    seconds: float = 0.0
    version: str = config.ORIGINAL  # which of serlib.config.PERTURBATIONS it is read as

    @property
    def source(self) -> str:
        """The key of the utterance that this is a version of."""
        return self.key.removesuffix(f" ({self.version})")


@dataclass(frozen=True)
class Excluded:
    """A file that is not used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """Usable utterances in the order of their keys, and whatever stands between them and the corpus as published."""

    name: str
    speech: Speech
    utterances: tuple[Utterance, ...]
    excluded: tuple[Excluded, ...] = ()
    notes: tuple[str, ...] = ()  # about the whole: wrong counts

    @property
    def emotions(self) -> tuple[str, ...]:
        return tuple(sorted({utterance.emotion for utterance in self.utterances}))

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted({utterance.speaker for utterance in self.utterances}))

    @property
    def labels(self) -> list[int]:
        """Each utterance's emotion as its index in ``emotions``."""
        index = {emotion: i for i, emotion in enumerate(self.emotions)}
        return [index[utterance.emotion] for utterance in self.utterances]

    def rows(self, keys: Iterable[str]) -> list[int]:
        """Where the utterances ``keys`` stand in ``utterances``."""
        position = {utterance.key: i for i, utterance in enumerate(self.utterances)}
        return [position[key] for key in keys]

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over keys, labels and the files' own hashes: equal exactly for equal data, in any folder."""
        fields = ((u.key, u.speaker, u.text, u.emotion, u.sha256) for u in self.utterances)
        lines = (" ".join(map(quote, line)) + "\n" for line in fields)  # quoted: a space stands between fields only
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def versions(corpus: Corpus) -> Corpus:
    """Every utterance in each of :data:`serlib.config.PERTURBATIONS`; a version's hash is of the file's and its name.

    What a corpus becomes when it is augmented; the protocols of :data:`serlib.data.splits.AUGMENTED` divide it.
    """

    def version(u: Utterance, kind: str) -> Utterance:
        changed = {"key": f"{u.key} ({kind})", "sha256": config.digest(u.sha256, kind), "version": kind}
        return u if kind == config.ORIGINAL else replace(u, **changed)

    changed = tuple(version(u, kind) for u in corpus.utterances for kind in config.PERTURBATIONS)
    return replace(corpus, utterances=changed)


def parse(name: str, file: str) -> Utterance:
    """One file name of corpus ``name``, read by that corpus's rules; ``file`` is the path below the corpus's folder.

    Raises:
        CorpusError: the name does not follow the rules, or a code in it is unknown.
    """
    known = facts.CORPORA[name]
    match = re.fullmatch(known.pattern, file)
    if match is None:
        raise CorpusError(f"{file}: not a {name} file name such as {known.example}")
    part = match.groupdict()
    if part["code"] not in known.codes:
        raise CorpusError(f"{file}: emotion code {part['code']!r} is none of {', '.join(known.codes)}")
    for field, allowed in known.fields.items():
        if part[field] not in allowed:
            raise CorpusError(f"{file}: {field} {part[field]!r} is none of {', '.join(allowed)}")
    if name == "savee":  # sentences are numbered within each emotion
        text = part["code"] + part["number"]
        key = f"{part['speaker']}_{text}.wav"
    else:
        text, key = part["text"], Path(file).name
    return Utterance(key, Path(file), part["speaker"], text, known.codes[part["code"]])


def load(name: str, folder: Path, *, strict: bool = False, speech: Speech = "recordings") -> Corpus:
    """The corpus in ``folder``, every file opened, hashed and checked.

    Args:
        name: ``savee``, ``emodb`` or ``crema-d``; any other name for a corpus of your own.
        folder: the corpus's folder; for a corpus of your own, a CSV file with the columns path (below the CSV's
            folder), speaker, emotion and, if known, text.
        strict: stop at the first problem instead of excluding and listing it.

    Raises:
        CorpusError: nothing usable is there, or ``strict`` and anything is wrong.
    """
    folder = Path(folder)
    own = folder.suffix == ".csv"
    if not own and name not in facts.CORPORA:
        known = ", ".join(facts.CORPORA)
        raise CorpusError(f"corpus {name!r} is none of {known}; for your own, give a CSV file as data")
    if not folder.exists():
        raise CorpusError(f"no such {'file' if own else 'folder'}: {folder} (see `python -m serlib corpora --help`)")
    found, excluded = (_from_csv(folder), []) if own else _from_names(name, folder)
    with ThreadPoolExecutor() as pool:
        opened = list(pool.map(_open, found))
    excluded += [result for result in opened if isinstance(result, Excluded)]
    usable = [result for result in opened if isinstance(result, Utterance)]
    contradictory = _contradictory(usable)
    excluded += contradictory
    left_out = {item.file for item in contradictory}
    utterances = sorted((u for u in usable if u.key not in left_out), key=lambda u: u.key)
    if not utterances:
        why = f"; first problem: {excluded[0].file}: {excluded[0].reason}" if excluded else ""
        raise CorpusError(f"{folder}: no usable {name} recording{why}")
    published = speech == "recordings" and not own
    kept = {u.key for u in utterances} | facts.CREMA_D_DEFECTIVE  # what is known to be defective is not missing
    notes = check_counts(facts.CORPORA[name], [u for u in found if u.key in kept]) if published else []
    excluded.sort(key=lambda item: item.file)
    problems = [f"{item.file}: {item.reason}" for item in excluded] + notes
    if strict and problems:
        raise CorpusError(f"{folder}: {len(problems)} problem(s), stopped by --strict; first: {problems[0]}")
    return Corpus(name, speech, tuple(utterances), tuple(excluded), tuple(notes))


def check_counts(known: facts.CorpusFacts, utterances: Sequence[Utterance]) -> list[str]:
    """What differs from the corpus as published: utterances by emotion, speakers."""
    counts = Counter(utterance.emotion for utterance in utterances)
    notes = [
        f"{emotion}: {counts[emotion]:,} utterances, published {expected:,}"
        for emotion, expected in known.class_counts.items()
        if counts[emotion] != expected
    ]
    speakers = len({utterance.speaker for utterance in utterances})
    if speakers != known.speakers:
        notes.append(f"{speakers} speakers, published {known.speakers}")
    return notes


def _from_names(name: str, folder: Path) -> tuple[list[Utterance], list[Excluded]]:
    found: dict[str, Utterance] = {}
    excluded = []
    for path in sorted(folder.rglob("*.wav")):
        file = path.relative_to(folder).as_posix()
        try:
            utterance = parse(name, file)
        except CorpusError as error:
            excluded.append(Excluded(file, str(error).removeprefix(f"{file}: ")))
            continue
        if utterance.key in found:
            excluded.append(Excluded(file, f"same name as {found[utterance.key].path.relative_to(folder).as_posix()}"))
        else:
            found[utterance.key] = replace(utterance, path=path)
    return list(found.values()), excluded


def _from_csv(table: Path) -> list[Utterance]:
    needed = ("path", "speaker", "emotion")
    fields, rows = _rows(table, "utf-8-sig")
    missing = set(needed) - set(fields)
    if missing:
        raise CorpusError(f"{table.name}: no column {', '.join(sorted(missing))}; it needs {', '.join(needed)}")
    for row in rows:
        if not all(row[column] for column in needed):
            raise CorpusError(f"{table.name}: {row['path'] or 'a row'}: path, speaker or emotion is empty")
    utterances = [
        Utterance(row["path"], table.parent / row["path"], row["speaker"], row.get("text") or "", row["emotion"])
        for row in rows
    ]
    twice = [key for key, count in Counter(u.key for u in utterances).items() if count > 1]
    if twice:
        raise CorpusError(f"{table.name}: path {twice[0]!r} stands in more than one row")
    return utterances


def _rows(table: Path, encoding: str) -> tuple[list[str], list[dict[str, str]]]:
    """A CSV table's columns and rows; a field that a row lacks is empty."""
    try:
        with table.open(newline="", encoding=encoding) as file:
            reader = csv.DictReader(file, restval="")
            return list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table.name}: not a CSV table in UTF-8 ({error})") from error


def _open(utterance: Utterance) -> Utterance | Excluded:
    """Hash and length, or why the file cannot be used."""
    import soundfile

    path = utterance.path
    try:
        declared = _declared_bytes(path)
        if declared > path.stat().st_size:
            return Excluded(utterance.key, f"truncated: {path.stat().st_size:,} of {declared:,} bytes")
        samples, rate = soundfile.read(path, dtype="float32")
    except OSError as error:
        return Excluded(utterance.key, f"unreadable: {error.strerror}")
    except soundfile.LibsndfileError as error:
        return Excluded(utterance.key, f"unreadable: {error.error_string}")
    if not len(samples):
        return Excluded(utterance.key, "no samples")
    loudest = float(abs(samples).max())
    if not math.isfinite(loudest):
        return Excluded(utterance.key, "a sample is not a finite number")
    if not loudest:
        return Excluded(utterance.key, "digital silence")
    return replace(utterance, sha256=sha256(path), seconds=len(samples) / rate)


def _declared_bytes(path: Path) -> int:
    """The size that a RIFF header declares, 0 for other formats and for streams of unknown length."""
    with path.open("rb") as file:
        kind, size = file.read(4), int.from_bytes(file.read(4), "little")
    return 0 if kind != b"RIFF" or size in (0, 0xFFFFFFFF) else size + 8


def _contradictory(utterances: list[Utterance]) -> list[Excluded]:
    """Byte-identical files under different emotions: none of them can be right, so none is used."""
    same = defaultdict(list)
    for utterance in utterances:
        same[utterance.sha256].append(utterance)
    return [
        Excluded(u.key, "identical to " + ", ".join(f"{o.key} ({o.emotion})" for o in group if o is not u))
        for group in same.values()
        if len({u.emotion for u in group}) > 1
        for u in group
    ]


COLUMNS = ("file", "path", "speaker", "text", "emotion", "seconds", "sha256", "excluded")


def save(corpus: Corpus, table: Path, folder: Path) -> None:
    """Write the corpus as one CSV table; paths are relative to ``folder``. Notes stand in rows without a file."""
    root = _root(folder)
    with atomic_write(table) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for u in corpus.utterances:
            path = u.path.relative_to(root).as_posix()
            writer.writerow((u.key, path, u.speaker, u.text, u.emotion, u.seconds, u.sha256, ""))
        writer.writerows((item.file, "", "", "", "", "", "", item.reason) for item in corpus.excluded)
        writer.writerows(("", "", "", "", "", "", "", note) for note in corpus.notes)


def read(table: Path, folder: Path, name: str, speech: Speech) -> Corpus:
    """The corpus that :func:`save` wrote; ``folder`` is where its recordings lie.

    Raises:
        CorpusError: the table is not one that :func:`save` wrote.
    """
    fields, rows = _rows(table, "utf-8")
    used = [row for row in rows if not row.get("excluded")]
    try:
        if tuple(fields) != COLUMNS:
            raise ValueError("other columns")
        seconds = [float(row["seconds"]) for row in used]
    except ValueError as error:
        raise CorpusError(f"{table}: not a corpus table; make it with `python -m serlib corpora`") from error
    root = _root(folder)
    return Corpus(
        name,
        speech,
        tuple(
            Utterance(r["file"], root / r["path"], r["speaker"], r["text"], r["emotion"], r["sha256"], length)
            for r, length in zip(used, seconds, strict=True)
        ),
        tuple(Excluded(r["file"], r["excluded"]) for r in rows if r["excluded"] and r["file"]),
        tuple(r["excluded"] for r in rows if r["excluded"] and not r["file"]),
    )


def _root(folder: Path) -> Path:
    return folder.parent if folder.suffix == ".csv" else folder
