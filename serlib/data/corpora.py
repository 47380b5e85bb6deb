"""File names to one table of utterances, with every problem found before work starts.

* :func:`load`: SAVEE, EmoDB, CREMA-D from their real folders, or any corpus from a CSV file;
* :func:`manifest`: every published file of a corpus and its hash;
* :func:`save` and :func:`read`: the table as a file, excluded files included;
* :func:`versions`: every utterance as it is and perturbed.

A file that cannot be used is excluded by name with its reason. Exclusions travel with the table into every record, and
stop the work only when ``strict``. :mod:`serlib.data.report` prints how the recordings are stored.
"""

import csv
import hashlib
import io
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from serlib import config
from serlib.data import facts
from serlib.engine.plain import read_json, write_json
from serlib.errors import SerlibError, printable
from serlib.files import require_file

Speech = Literal["recordings", "synthetic"]

ALIAS = "1040_ITH_SAD_X.wav", "1040_ITH_SAD_XX.wav"  # of CREMA-D: the name on some mirrors, the published one
SYSTEMS = (".", "__MACOSX", "@eaDir", "$RECYCLE.BIN")  # prefixes of folders that operating systems add
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
LETTERS = "at most 100 letters, digits, '-', '_' and '.', and starts with one of the first two"
CARRIERS = {  # the properties of a file that a network may learn instead of the speech
    "rate": "the sampling rate",
    "bandwidth": "the bandwidth",
    "format": "the format",
    "channels": "the number of channels",
    "seconds": "the length",
    "level": "the level",
}


class CorpusError(SerlibError):
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
    notes: tuple[str, ...] = field(default=(), compare=False)  # parts left out, wrong headers, sound no image shows
    carrier: dict[str, str | int | float] = field(default_factory=dict, compare=False)  # how it is stored, if opened
    version: str = config.ORIGINAL  # which of serlib.config.PERTURBATIONS it is read as

    @property
    def source(self) -> str:
        """The key of the original utterance, of which this is a version."""
        return self.key.removesuffix(f" ({self.version})")


@dataclass(frozen=True)
class Excluded:
    """A file that is not used, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """Usable utterances in the order of their keys, and every difference from the corpus as published."""

    name: str
    speech: Speech
    utterances: tuple[Utterance, ...]
    excluded: tuple[Excluded, ...] = ()
    notes: tuple[str, ...] = ()  # wrong counts, and notes on its files
    channel: int = 0  # of recordings with several, counted from 1; 0: their mean

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
        """The positions of the utterances ``keys`` in ``utterances``."""
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

    This is an augmented corpus; the protocols of :data:`serlib.data.splits.AUGMENTED` divide it.
    """

    def version(u: Utterance, kind: str) -> Utterance:
        hashed = config.digest(u.sha256, kind)
        return u if kind == config.ORIGINAL else replace(u, key=f"{u.key} ({kind})", sha256=hashed, version=kind)

    changed = (version(u, kind) for u in corpus.utterances for kind in config.PERTURBATIONS)
    return replace(corpus, utterances=tuple(changed))


def parse(name: str, file: str) -> Utterance:
    """One file name of corpus ``name``, read by that corpus's rules; ``file`` is the path below the corpus's folder.

    Raises:
        CorpusError: the name does not follow the rules, or a code in it is unknown.
    """
    known = facts.CORPORA[name]
    plain = re.sub(r"(?i)\.wav\Z", ".wav", file).replace(*ALIAS)
    match = re.fullmatch(known.pattern, plain)
    if match is None:
        raise CorpusError(f"{file}: not a {name} file name such as {known.example}")
    part = match.groupdict()
    if part["code"] not in known.codes:
        raise CorpusError(f"{file}: emotion code {part['code']!r} is none of {', '.join(known.codes)}")
    for name_of, allowed in known.fields.items():
        if part[name_of] not in allowed:
            raise CorpusError(f"{file}: {name_of} {part[name_of]!r} is none of {', '.join(allowed)}")
    if "number" in part:  # sentences are numbered within each emotion
        text = part["code"] + part["number"]
        key = f"{part['speaker']}_{text}.wav"
    else:
        text, key = part["text"], plain.rpartition("/")[2]
    return Utterance(key, Path(file), part["speaker"], text, known.codes[part["code"]])


@cache
def manifest(name: str) -> dict[str, str]:
    """File name to SHA-256 (hex) of every published file of a corpus; empty where no list is kept."""
    path = Path(__file__).with_name("manifests") / f"{name}.csv"
    return dict(csv.reader(path.read_text(encoding="utf-8").splitlines()[1:])) if path.exists() else {}


def published(name: str, files: Iterable[str] | None = None) -> Corpus:
    """A corpus as its manifest names it, without a recording: all of it, or some of its files.

    Raises:
        KeyError: one of ``files`` is not in the manifest.
    """
    hashes = manifest(name)
    utterances = (replace(parse(name, file), sha256=hashes[file]) for file in sorted(files or hashes))
    return Corpus(name, "recordings", tuple(utterances))


@cache
def published_fingerprints(name: str) -> frozenset[str]:
    """Fingerprints of a corpus without its defective files, as published and in all versions; none without a manifest."""
    files = manifest(name).keys() - facts.CREMA_D_DEFECTIVE
    corpus = published(name, files)
    return frozenset((corpus.fingerprint, versions(corpus).fingerprint)) if files else frozenset()


def load(
    name: str, folder: str | Path, *, strict: bool = False, speech: Speech = "recordings", channel: int = 0
) -> Corpus:
    """The corpus in ``folder``, every file opened, hashed and checked.

    Args:
        name: ``savee``, ``emodb`` or ``crema-d``; any other name for a corpus of your own.
        folder: the corpus's folder; for a corpus of your own, a CSV file with the columns path (below the CSV's
            folder), speaker, emotion and, if known, text.
        strict: stop at the first problem instead of excluding and listing it.
        channel: of recordings with several, counted from 1; 0: their mean.

    Raises:
        CorpusError: nothing usable is there; the CSV file is no table of a corpus, or has one emotion;
            ``strict`` and anything is wrong.
    """
    folder = Path(folder)
    own = _check_place(name, folder)
    listed, excluded = (_from_csv(folder), []) if own else _from_names(name, folder)
    with ThreadPoolExecutor() as pool:
        opened = list(pool.map(partial(_open, settings=config.Features(channel=channel)), listed))
    excluded += [result for result in opened if isinstance(result, Excluded)]
    usable = [result for result in opened if isinstance(result, Utterance)]
    contradictory = _contradictory(usable)
    excluded = sorted(excluded + contradictory, key=lambda item: item.file)
    left_out = {item.file for item in contradictory}
    utterances = sorted((u for u in usable if u.key not in left_out), key=lambda u: u.key)
    problems = [f"{item.file}: {item.reason}" for item in excluded]
    first = f"; first problem: {problems[0]}" if problems else ""
    if not utterances:
        raise CorpusError(f"{folder}: no usable {name} recording{first or '; no .wav is there'}")
    if own and len({u.emotion for u in utterances}) == 1:
        problem = f"every usable {name} recording is {utterances[0].emotion!r}"
        raise CorpusError(f"{folder}: {problem}: there is nothing to tell apart{first}")
    differences = [] if own or speech == "synthetic" else _differences(name, listed, utterances)
    problems += differences
    if strict and problems:
        raise CorpusError(f"{folder}: {len(problems)} problem(s), stopped by --strict; first: {problems[0]}")
    notes = differences + _remarks(utterances) + (_doubts(utterances) if own else [])
    if own or notes:  # a corpus as published needs no such notes
        from serlib.data import report  # here, because it reads this module

        notes += report.giveaways(utterances)
    return Corpus(name, speech, tuple(utterances), tuple(excluded), tuple(notes), channel)


def _check_place(name: str, folder: Path) -> bool:
    """Whether ``folder`` is a user's own table; raises CorpusError if the name does not fit the folder or table."""
    own = is_table(folder)
    check_name(name)
    if own and name.lower() in facts.CORPORA:
        raise CorpusError(f"{folder.name}: a table of your own cannot be called {name!r}: give the corpus another name")
    if not own and name not in facts.CORPORA:
        known = ", ".join(facts.CORPORA)
        raise CorpusError(f"corpus {name!r} is none of {known}; for your own, give a CSV file as data")
    if not own and not folder.is_dir():
        remedy = "`python -m workflow.download` fetches emodb and crema-d; an archive is unpacked first"
        raise CorpusError(f"{folder}: no folder of {name}'s recordings; {remedy}")
    return own


def _differences(name: str, listed: Sequence[Utterance], utterances: Sequence[Utterance]) -> list[str]:
    """Differences from the corpus as published: utterances by emotion, speakers, hashes of the files."""
    known, hashes = facts.CORPORA[name], manifest(name)
    kept = {u.key for u in utterances} | facts.CREMA_D_DEFECTIVE  # a known defective file is not missing
    known_files = [u for u in listed if u.key in kept]
    counts, speakers = Counter(u.emotion for u in known_files), len({u.speaker for u in known_files})
    notes = [
        f"{emotion}: {counts[emotion]:,} utterances, published {expected:,}"
        for emotion, expected in known.class_counts.items()
        if counts[emotion] != expected
    ]
    if speakers != known.speakers:
        notes.append(f"{speakers} speakers, published {known.speakers}")
    keys = [u.key for u in utterances if hashes and hashes.get(u.key) != u.sha256]
    if keys:
        notes.append(f"{len(keys):,} of {len(utterances):,} files differ from those published, {keys[0]} first")
    return notes


def is_table(data: str | Path) -> bool:
    """Whether ``data`` is the CSV file of a user's own corpus, not a folder."""
    return Path(data).suffix.lower() == ".csv" and not Path(data).is_dir()


def grouped(items: Iterable, key: Callable[[Any], str]) -> dict[str, list]:
    """The items, grouped by their value of ``key``."""
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _remarks(utterances: Sequence[Utterance]) -> list[str]:
    """Files that are not used as they are: one line per kind, with the number of files and the first."""
    kinds = grouped(((note, u.key) for u in utterances for note in u.notes), itemgetter(0))
    return [f"{len(group):,} file(s), {group[0][1]} first: {note}" for note, group in sorted(kinds.items())]


def _doubts(utterances: Sequence[Utterance]) -> list[str]:
    """Names that may have the same meaning, and recordings that are the same."""
    notes, without_zeros = [], ("zeros in front", lambda name: name.lstrip("0"))  # which spreadsheets leave out
    case = "case", str.casefold
    for column, (difference, normal) in (("emotion", case), ("speaker", case), ("speaker", without_zeros)):
        spellings = grouped(sorted({getattr(u, column) for u in utterances}), normal).values()
        notes += [f"{column}s that differ by {difference} alone: {', '.join(s)}" for s in spellings if len(s) > 1]
    same = ([u.key for u in group] for group in grouped(utterances, lambda u: u.sha256).values())
    return notes + [f"the same recording under several names: {', '.join(keys)}" for keys in same if len(keys) > 1]


def recordings(folder: str | Path) -> list[Path]:
    """Every file called .wav, in upper case or lower, in any folder below, sorted; hidden files and folders are not.

    Linked folders count, once each: a link to a folder above ends nowhere. For a table, the files that it lists.

    Raises:
        CorpusError: the file is no table of a corpus.
    """
    folder = Path(folder)
    if is_table(folder):
        return sorted(utterance.path for utterance in _from_csv(folder))
    seen, files = set(), []
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(SYSTEMS))
        files += (Path(place, n) for n in (*names, *folders) if n.lower().endswith(".wav") and not n.startswith("."))
    return sorted(files)


def _from_names(name: str, folder: Path) -> tuple[list[Utterance], list[Excluded]]:
    by_key: dict[str, Utterance] = {}
    excluded = []
    for path in recordings(folder):
        file = path.relative_to(folder).as_posix()
        if printable(file) != file:
            excluded.append(Excluded(printable(file), "its name is not UTF-8 or cannot be printed: rename it"))
            continue
        try:
            utterance = parse(name, file)
        except CorpusError as error:
            excluded.append(Excluded(file, str(error).removeprefix(f"{file}: ")))
            continue
        if utterance.key in by_key:
            excluded.append(Excluded(file, f"same name as {by_key[utterance.key].path.relative_to(folder).as_posix()}"))
        else:
            by_key[utterance.key] = replace(utterance, path=path)
    return list(by_key.values()), excluded


def check_name(name: str) -> None:
    """Raises CorpusError if a user's own corpus cannot be called ``name``, which becomes part of paths."""
    if not re.fullmatch(NAME, name):
        raise CorpusError(f"corpus {name!r}: a name is made of {LETTERS}")


NEEDED = ("path", "speaker", "emotion")  # columns of a user's own table; "text" is optional


def _from_csv(table: Path) -> list[Utterance]:
    """Utterances of a table as spreadsheets save it; names are stripped and in the composed form of Unicode (NFC)."""
    rows = _rows(table)
    head = [name.lower() for name in rows[0][1]] if rows else []
    if missing := set(NEEDED) - set(head):
        columns = f"it needs {', '.join(NEEDED)} and has {', '.join(map(repr, head[:4])) or 'none'}"
        raise CorpusError(f"{table.name}: no column {', '.join(sorted(missing))}; {columns}")
    for name, count in Counter(filter(None, head)).items():
        if count > 1:
            raise CorpusError(f"{table.name}: {count} columns are called {name!r}: leave one")
    by_path: dict[str, Utterance] = {}
    for number, cells in rows[1:]:
        place = f"{table.name}: row {number}"
        if any(cells[len(head) :]):
            raise CorpusError(f"{place}: {len(cells)} cells under {len(head)} heads: quote a cell that holds a comma")
        row = dict(zip(head, cells, strict=False))
        for column in NEEDED:
            if not row.get(column):
                raise CorpusError(f"{place}: {column} is empty: fill it in, or remove the row")
            if not "".join(row[column].split()).isprintable():
                raise CorpusError(f"{place}: {column} {row[column]!r} cannot be printed: type it anew")
        key = row["path"].replace("\\", "/")
        if key in by_path:
            raise CorpusError(f"{place}: path {key!r} stands in more than one row: leave one")
        names = (" ".join(row.get(column, "").split()) for column in ("speaker", "text", "emotion"))
        by_path[key] = Utterance(key, _beside(table, key), *names)
    return list(by_path.values())


def _beside(table: Path, name: str) -> Path:
    """The file that a row names, in the Unicode form that it has on this disk."""
    decomposed = table.parent / unicodedata.normalize("NFD", name)
    return decomposed if os.path.lexists(decomposed) else table.parent / name


def _rows(table: Path) -> list[tuple[int, list[str]]]:
    """Number and cells of every row that is not empty, spaces around cells left out."""
    try:
        text = unicodedata.normalize("NFC", require_file(table).read_text(encoding="utf-8-sig"))
        text = re.sub(r"\A(?i:sep=).\n", "", text)  # a line for Excel, which shows none
        first = next(iter(text.strip().splitlines()), "")
        reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count), skipinitialspace=True)
        rows = [[cell.strip() for cell in row] for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table.name}: not a CSV table in UTF-8 ({error}); save it as `CSV UTF-8`") from error
    except OSError as error:
        raise CorpusError(f"{table}: {error.strerror}") from error
    return [(number, row) for number, row in enumerate(rows, 1) if any(row)]


def _open(utterance: Utterance, settings: config.Features) -> Utterance | Excluded:
    """Hash and length, or why the file cannot be used."""
    from serlib.data import audio

    try:
        recording = audio.read(utterance.path, settings)
    except audio.AudioError as error:
        return Excluded(utterance.key, str(error))
    known = {name: getattr(recording, name) for name in ("sha256", "seconds", "notes")}
    return replace(utterance, carrier={name: getattr(recording, name) for name in CARRIERS}, **known)


def _contradictory(utterances: list[Utterance]) -> list[Excluded]:
    """Byte-identical files under different emotions: none of them can be right, so none is used."""
    return [
        Excluded(u.key, "identical to " + ", ".join(f"{other.key} ({other.emotion})" for other in group if other != u))
        for group in grouped(utterances, lambda u: u.sha256).values()
        if len({u.emotion for u in group}) > 1
        for u in group
    ]


def save(corpus: Corpus, table: str | Path, folder: str | Path) -> None:
    """Write the corpus as JSON with its digest; paths are relative to ``folder``, where its recordings lie.

    Raises:
        CorpusError: something else than a corpus table is there.
    """
    if Path(table).exists() and not require_file(table).read_bytes().startswith(b'{"name": '):
        raise CorpusError(f"{table}: exists and is no corpus table; give another name")
    root, values = _root(folder), config.plain(corpus)
    for row in values["utterances"]:
        path = row["path"]
        row["path"] = (path.relative_to(root) if path.is_relative_to(root) else path.absolute()).as_posix()
    write_json(values, table)


def read(table: str | Path, folder: str | Path, name: str, speech: Speech) -> Corpus:
    """The corpus that :func:`save` wrote; ``folder`` is where its recordings lie.

    Raises:
        CorpusError: the table is not one that :func:`save` wrote, was changed since, or is of another corpus.
    """
    try:
        corpus = config.from_plain(Corpus, read_json(table))
    except (ValueError, RecursionError) as error:
        reason = "not a corpus table, or changed since; make it with `python -m serlib corpora`"
        raise CorpusError(f"{table}: {reason}") from error
    if (corpus.name, corpus.speech) != (name, speech):
        raise CorpusError(f"{table}: of {corpus.name} ({corpus.speech}), not of {name} ({speech}): name another table")
    root = _root(folder)
    return replace(corpus, utterances=tuple(replace(u, path=root / u.path) for u in corpus.utterances))


def _root(folder: str | Path) -> Path:
    return Path(folder).parent if is_table(folder) else Path(folder)
