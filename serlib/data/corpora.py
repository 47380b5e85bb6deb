"""File names to one table of utterances, with every problem found before work starts.

* :func:`load`: SAVEE, EmoDB, CREMA-D from their real folders, or any corpus from a CSV file;
* :func:`manifest`: every published file of a corpus and its hash;
* :func:`save` and :func:`read`: the table as CSV, excluded files included;
* :func:`versions`: every utterance as it is and perturbed.

A file that cannot be used is excluded by name with its reason. Exclusions travel with the table into every record, and
stop the work only when ``strict``. :mod:`serlib.data.report` prints how the recordings are stored.
"""

import codecs
import csv
import hashlib
import io
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from serlib import config
from serlib.data import facts
from serlib.errors import SerlibError, printable
from serlib.files import atomic_write, require_file

Speech = Literal["recordings", "synthetic"]

ALIASES = {"1040_ITH_SAD_X.wav": "1040_ITH_SAD_XX.wav"}  # of CREMA-D, as some mirrors name it
SYSTEMS = (".", "__MACOSX", "@eaDir", "$RECYCLE.BIN")  # how folders begin that systems put among people's
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
EXAMPLES = {name: known.example for name, known in facts.CORPORA.items()}


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
    notes: tuple[str, ...] = field(default=(), compare=False)  # what of the file is not used as it is
    carrier: dict[str, str | int | float] = field(default_factory=dict, compare=False)  # how it is stored, if opened
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
    notes: tuple[str, ...] = ()  # about the whole: wrong counts, what of the files is not used as it is
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

    This is an augmented corpus; the protocols of :data:`serlib.data.splits.AUGMENTED` divide it.
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
    plain = re.sub(r"(?i)\.wav\Z", ".wav", file)
    for alias, published in ALIASES.items():
        plain = re.sub(rf"(?<![^/]){alias}\Z", published, plain)
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
    try:
        with Path(__file__).with_name("manifests").joinpath(f"{name}.csv").open(newline="", encoding="utf-8") as file:
            return {row["file"]: row["sha256"] for row in csv.DictReader(file)}
    except FileNotFoundError:
        return {}


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
    """Fingerprints of a corpus as published, without its defective files: as it is, and in all versions.

    Empty where no list of hashes is kept.
    """
    files = manifest(name).keys() - facts.CREMA_D_DEFECTIVE
    if not files:
        return frozenset()
    corpus = published(name, files)
    return frozenset((corpus.fingerprint, versions(corpus).fingerprint))


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
        CorpusError: nothing usable is there, the CSV file is no table of one's own corpus, or ``strict`` and anything
            is wrong.
    """
    folder = Path(folder)
    own = _check_place(name, folder)
    found, excluded = (_from_csv(folder), []) if own else _from_names(name, folder)
    with ThreadPoolExecutor() as pool:
        opened = list(pool.map(partial(_open, settings=config.Features(channel=channel)), found))
    excluded += [result for result in opened if isinstance(result, Excluded)]
    usable = [result for result in opened if isinstance(result, Utterance)]
    contradictory = _contradictory(usable)
    excluded = sorted(excluded + contradictory, key=lambda item: item.file)
    left_out = {item.file for item in contradictory}
    utterances = sorted((u for u in usable if u.key not in left_out), key=lambda u: u.key)
    _check_usable(name, folder, own, found, excluded, utterances)
    compared = speech == "recordings" and not own
    differences = _differences(name, found, utterances) if compared else []
    problems = [f"{item.file}: {item.reason}" for item in excluded] + differences
    if strict and problems:
        raise CorpusError(f"{folder}: {len(problems)} problem(s), stopped by --strict; first: {problems[0]}")
    notes = differences + _remarks(utterances) + (_doubts(utterances) if own else [])
    if own or notes:  # a corpus as published is what it is
        from serlib.data import report  # here, because it reads this module

        notes += report.giveaways(utterances)
    return Corpus(name, speech, tuple(utterances), tuple(excluded), tuple(notes), channel)


def _check_place(name: str, folder: Path) -> bool:
    """Whether ``folder`` is a table of one's own; raises CorpusError if the name does not go with what is there."""
    own = is_table(folder)
    check_name(name)
    if own and name.lower() in facts.CORPORA:
        raise CorpusError(f"{folder.name}: a table of your own cannot be called {name!r}: give the corpus another name")
    if not own and name not in facts.CORPORA:
        known = ", ".join(facts.CORPORA)
        raise CorpusError(f"corpus {name!r} is none of {known}; for your own, give a CSV file as data")
    if not folder.exists():
        raise CorpusError(f"no such {'file' if own else 'folder'}: {folder} (see `python -m serlib corpora --help`)")
    if not own and not folder.is_dir():
        raise CorpusError(f"{folder}: a file, not the folder of {name}'s recordings; an archive is unpacked first")
    return own


def _check_usable(
    name: str, folder: Path, own: bool, found: list, excluded: list[Excluded], utterances: list[Utterance]
) -> None:
    """Raises CorpusError if nothing is usable, or if a table of one's own has one emotion."""
    reason = f"; first problem: {excluded[0].file}: {excluded[0].reason}" if excluded else ""
    if not utterances:
        reason = reason if found or excluded else "; no .wav is there"
        raise CorpusError(f"{folder}: no usable {name} recording{reason}")
    if own and len({u.emotion for u in utterances}) == 1:
        only = utterances[0].emotion
        raise CorpusError(
            f"{folder}: every usable {name} recording is {only!r}: there is nothing to tell apart{reason}"
        )


def _differences(name: str, found: Sequence[Utterance], utterances: Sequence[Utterance]) -> list[str]:
    """Differences from the corpus as published: utterances by emotion, speakers, hashes of the files."""
    known, hashes = facts.CORPORA[name], manifest(name)
    kept = {u.key for u in utterances} | facts.CREMA_D_DEFECTIVE  # what is known to be defective is not missing
    known_files = [u for u in found if u.key in kept]
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
    """Whether ``data`` is the CSV file of a corpus of one's own, not a folder."""
    return Path(data).suffix.lower() == ".csv" and not Path(data).is_dir()


def grouped(utterances: Iterable[Utterance], key: Callable[[Utterance], str]) -> dict[str, list[Utterance]]:
    """The utterances by what ``key`` gives for them."""
    groups = defaultdict(list)
    for utterance in utterances:
        groups[key(utterance)].append(utterance)
    return groups


def _remarks(utterances: Sequence[Utterance]) -> list[str]:
    """Files that are not used as they are, a line a kind: how many, and the first."""
    kinds = sorted({note for utterance in utterances for note in utterance.notes})
    keys = {note: [u.key for u in utterances if note in u.notes] for note in kinds}
    return [f"{len(keys[note]):,} file(s), {keys[note][0]} first: {note}" for note in kinds]


def _doubts(utterances: Sequence[Utterance]) -> list[str]:
    """Names that may be meant to be the same, and recordings that are the same."""
    notes, without_zeros = [], ("zeros in front", lambda name: name.lstrip("0"))  # which spreadsheets leave out
    case = "case", str.casefold
    for column, (difference, normal) in (("emotion", case), ("speaker", case), ("speaker", without_zeros)):
        names, spellings = sorted({getattr(u, column) for u in utterances}), defaultdict(list)
        for name in names:
            spellings[normal(name)].append(name)
        doubtful = (found for found in spellings.values() if len(found) > 1)
        notes += [f"{column}s that differ by {difference} alone: {', '.join(found)}" for found in doubtful]
    same = ([u.key for u in group] for group in grouped(utterances, lambda u: u.sha256).values())
    return notes + [f"the same recording under several names: {', '.join(keys)}" for keys in same if len(keys) > 1]


def recordings(folder: str | Path) -> list[Path]:
    """Every file called .wav, in upper case or lower, in any folder below, sorted; hidden files and folders are not.

    Linked folders count, once each: a link to a folder above ends nowhere. Of a table, the files that it lists.

    Raises:
        CorpusError: no table of one's own corpus.
    """
    folder = Path(folder)
    if is_table(folder):
        return sorted(utterance.path for utterance in _from_csv(folder))
    seen, found = set(), []
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(f for f in folders if not f.startswith(SYSTEMS))
        if real not in seen:
            seen.add(real)
            wav = (n for n in (*names, *folders) if n.lower().endswith(".wav") and not n.startswith("."))
            found += (Path(place, name) for name in wav)
    return sorted(found)


def _from_names(name: str, folder: Path) -> tuple[list[Utterance], list[Excluded]]:
    found: dict[str, Utterance] = {}
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
        if utterance.key in found:
            excluded.append(Excluded(file, f"same name as {found[utterance.key].path.relative_to(folder).as_posix()}"))
        else:
            found[utterance.key] = replace(utterance, path=path)
    return list(found.values()), excluded


def check_name(name: str) -> None:
    """Raises CorpusError if a corpus of one's own cannot be called ``name``, which becomes part of paths."""
    if not re.fullmatch(NAME, name):
        raise CorpusError(f"corpus {name!r}: a name is made of {LETTERS}")


NEEDED = ("path", "speaker", "emotion")  # columns of a table of one's own; "text" is read if it is there


def _from_csv(table: Path) -> list[Utterance]:
    """Utterances of a table as spreadsheets save it; names are stripped and in the composed form of Unicode (NFC)."""
    text = re.sub(r"\A(?i:sep=).(\r\n|\r|\n)", "", _text(table, "utf-8-sig"))  # a line for Excel, which shows none
    head = next(iter(text.strip().splitlines()), "")
    rows = list(_cells(text, max(",;\t", key=head.count), table))
    head = [name.lower() for name in rows[0][1]] if rows else []
    missing = set(NEEDED) - set(head)
    if missing:
        found = f"it needs {', '.join(NEEDED)} and has {', '.join(map(repr, head[:4])) or 'none'}"
        raise CorpusError(f"{table.name}: no column {', '.join(sorted(missing))}; {found}")
    for name, count in Counter(filter(None, head)).items():
        if count > 1:
            raise CorpusError(f"{table.name}: {count} columns are called {name!r}: leave one")
    found: dict[str, Utterance] = {}
    for number, cells in rows[1:]:
        place = f"{table.name}: row {number}"
        if any(cells[len(head) :]):
            raise CorpusError(f"{place}: {len(cells)} cells under {len(head)} heads: quote a cell that holds a comma")
        row = dict(zip(head, cells, strict=False))
        for column in NEEDED:
            if not row.get(column):
                raise CorpusError(f"{place}: {column} is empty: fill it in, or remove the row")
            if not "".join(row[column].split()).isprintable():
                remedy = "holds a character that cannot be printed: type it anew"
                raise CorpusError(f"{place}: {column} {row[column]!r} {remedy}")
        path = _beside(table, row["path"])
        key = row["path"].replace("\\", "/")
        if key in found:
            raise CorpusError(f"{place}: path {key!r} stands in more than one row: leave one")
        names = (" ".join(row.get(column, "").split()) for column in ("speaker", "text", "emotion"))
        found[key] = Utterance(key, path, *names)
    return list(found.values())


def _beside(table: Path, name: str) -> Path:
    """The file that a row names, its separators and Unicode form as they are on this disk."""
    forms = [name, unicodedata.normalize("NFD", name)]
    forms += [form.replace("\\", "/") for form in forms]
    return next((path for form in forms if os.path.lexists(path := table.parent / form)), table.parent / forms[2])


def _cells(text: str, delimiter: str, table: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every row that is not empty, spaces around cells left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for number, row in enumerate(reader, 1):
            cells = [unicodedata.normalize("NFC", cell).strip() for cell in row]
            if any(cells):
                yield number, cells
    except csv.Error as error:
        raise CorpusError(f"{table.name}: line {reader.line_num}: not a CSV table ({error})") from error


def _text(table: str | Path, encoding: str) -> str:
    remedy = "save it as `CSV UTF-8`"
    try:
        content = require_file(table).read_bytes()
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if marked else encoding)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{Path(table).name}: not a CSV table in UTF-8 ({error}); {remedy}") from error
    except OSError as error:
        raise CorpusError(f"{table}: {error.strerror}") from error
    if "\0" in text:
        what = "null characters, as of UTF-16 without its mark, or no CSV table"
        raise CorpusError(f"{Path(table).name}: {what}; {remedy}")
    return text


def _open(utterance: Utterance, settings: config.Features) -> Utterance | Excluded:
    """Hash and length, or why the file cannot be used."""
    from serlib.data import audio

    try:
        recording = audio.read(utterance.path, settings)
    except audio.AudioError as error:
        return Excluded(utterance.key, str(error))
    carrier = {name: getattr(recording, name) for name in CARRIERS}
    known = {"sha256": recording.sha256, "seconds": recording.seconds, "notes": recording.notes}
    return replace(utterance, carrier=carrier, **known)


def _contradictory(utterances: list[Utterance]) -> list[Excluded]:
    """Byte-identical files under different emotions: none of them can be right, so none is used."""
    contradictory = []
    for group in grouped(utterances, lambda u: u.sha256).values():
        if len({u.emotion for u in group}) > 1:
            names = {u.key: f"{u.key} ({u.emotion})" for u in group}
            reasons = {key: ", ".join(names[other] for other in names if other != key) for key in names}
            contradictory += [Excluded(key, f"identical to {reason}") for key, reason in reasons.items()]
    return contradictory


COLUMNS = ("file", "path", "speaker", "text", "emotion", "seconds", "sha256", "excluded")
LAST_LINE = rf",(?:channel ([1-9][0-9]{{0,9}}))?,({NAME}),(recordings|synthetic),"


def save(corpus: Corpus, table: str | Path, folder: str | Path) -> None:
    """Write the corpus as one CSV table; paths are relative to ``folder``. Notes stand in rows without a file.

    The last line holds the channel, if one was chosen, the corpus's name and whose speech it is, and the SHA-256 of all.
    """
    root, text = _root(folder), io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for u in corpus.utterances:
        path = (u.path.relative_to(root) if u.path.is_relative_to(root) else u.path.absolute()).as_posix()
        writer.writerow((u.key, path, u.speaker, u.text, u.emotion, u.seconds, u.sha256, ""))
    writer.writerows((item.file, "", "", "", "", "", "", item.reason) for item in corpus.excluded)
    writer.writerows(("", "", "", "", "", "", "", note) for note in corpus.notes)
    with atomic_write(table) as beside:
        beside.write_bytes(_sealed(text.getvalue(), corpus.channel, corpus.name, corpus.speech).encode())


def remove(table: str | Path) -> None:
    """Remove a table that :func:`save` wrote, if it is there.

    Raises:
        CorpusError: something else is there.
    """
    table = Path(table)
    if table.exists() and not _text(table, "utf-8").startswith(",".join(COLUMNS)):
        raise CorpusError(f"{table}: exists and is no corpus table; give another name")
    table.unlink(missing_ok=True)


def _sealed(text: str, channel: int, name: str, speech: str) -> str:
    text += f",{f'channel {channel}' if channel else ''},{name},{speech},,,"
    return f"{text}{hashlib.sha256(text.encode()).hexdigest()},\n"


def read(table: str | Path, folder: str | Path, name: str, speech: Speech) -> Corpus:
    """The corpus that :func:`save` wrote; ``folder`` is where its recordings lie.

    Raises:
        CorpusError: the table is not one that :func:`save` wrote, was changed since, or is of another corpus.
    """
    check_name(name)
    text = _text(table, "utf-8")
    start = text.rfind("\n", 0, -1) + 1
    body, last = text[:start], re.match(LAST_LINE, text[start:])
    channel, *owner = (int(last[1] or 0), last[2], last[3]) if last else (0, "", "")
    if not body.startswith(",".join(COLUMNS) + "\n") or text != _sealed(body, channel, *owner):
        raise CorpusError(f"{table}: not a corpus table, or changed since; make it with `python -m serlib corpora`")
    if owner != [name, speech]:
        raise CorpusError(f"{table}: of {owner[0]} ({owner[1]}), not of {name} ({speech}): name another table")
    root, used, excluded, notes = _root(folder), [], [], []
    for row in csv.DictReader(io.StringIO(body, newline="")):
        if not row["excluded"]:
            fields = (row[column] for column in ("speaker", "text", "emotion", "sha256"))
            used.append(Utterance(row["file"], root / row["path"], *fields, float(row["seconds"])))
        elif row["file"]:
            excluded.append(Excluded(row["file"], row["excluded"]))
        else:
            notes.append(row["excluded"])
    return Corpus(name, speech, tuple(used), tuple(excluded), tuple(notes), channel)


def _root(folder: str | Path) -> Path:
    return Path(folder).parent if is_table(folder) else Path(folder)
