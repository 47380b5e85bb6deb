"""The numbers of the book's prose: computed here, written there as ``{{ name }}``.

* :func:`values`: every number and table by name, from the paper's facts, the configurations and the run records;
* :func:`choices`: what was chosen for every setting of the method, and why.

Links are relative to ``book/``, where the prose lies.
"""

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion import beyond, claims, experiments, notebook, paper
from serlib import config, metrics, records
from serlib.data import corpora, download, facts, splits, synthetic

if TYPE_CHECKING:  # it needs torch, which is imported where it is used
    from serlib.probes import Probe

# Those that add nothing to the paper's training; the others are beyond it.
STATED_SCHEDULES = {name: s for name, s in config.SCHEDULES.items() if name not in config.BEYOND}


SHOWN_SCHEDULES = ("paper", "short", config.BASELINE)  # of several, the one with the most epochs is shown

# What the fields of a run record hold, in a reader's words.
RECORD_FIELDS = {
    "corpus": "the corpus's name: `savee`, `emodb`, `crema-d`, or the name of your own",
    "speech": "`recordings` of people or `synthetic` speech",
    "emotions": "the classes, in the order of the labels below",
    "fingerprint": "SHA-256 over the utterances' names, labels and file hashes: equal exactly for equal data",
    "excluded": "each file that was left out, and why",
    "notes": "how the corpus differs from the published one; empty where the counts agree",
    "protocol": "how the corpus was split: a name in `serlib.data.splits`",
    "fold": "which of the protocol's folds is held out, from 0",
    "split": "SHA-256 over which utterance stands in which part",
    "configuration": "the run's name, network, schedule and images: every field of `serlib.config`",
    "teacher": "digest of the result of the teacher's record; empty for a run without a teacher",
    "curves": "for each stage, each loss at each epoch (mean over the training set)",
    "parts": "`train` and `test`: file, speaker, true and predicted label of every utterance",
    "made": "date, seconds, device, machine, library versions, commit, and whether the code differed from it",
}


def values(root: Path) -> dict[str, str]:
    """Every substitution of the prose. ``root`` is a checkout; without records in it, the tables say so.

    Returns:
        name to Markdown: a number, a phrase, or a table of several lines.
    """
    committed = records.read_all(root / "results/recordings")
    built = records.read_all(root / "build/runs")
    found = {
        **_settings(),
        **_counted(),
        **_corpora(),
        "claims_table": claims_table(committed, built, root),
        "measurements_table": measurements_table(committed, built),
        "coverage_table": coverage_table(committed, built),
        "measured_table": measured_table(committed),
        "build_note": build_note(built),
        "beyond_note": beyond_note(committed),
        "sources_table": _table(("tag", "source"), [(f"[{tag}]", words) for tag, words in paper.SOURCES.items()]),
        "choices_table": choices_table(),
        "runs_table": runs_table(),
        "record_table": _table(("field", "holds"), _record_rows()),
    }
    return {name: str(value) for name, value in found.items()}


def claims_table(committed: Sequence[records.Record], built: Sequence[records.Record], root: Path) -> str:
    """Claim by claim: what the abstract says, the verdict by the rule, what it rests on. No verdict is typed."""
    from serlib import probes

    rows = []
    found, probed = [*committed, *built], probes.read_all(root / "results/probes")
    known_of_time = _probed(probed)
    beside = {
        **known_of_time,
        "transfer": "<br>".join(filter(None, (_matched_otherwise(found), known_of_time.get("transfer")))),
        "accuracy": _in_versions(committed),
    }
    for claim in paper.CLAIMS:
        verdict = claims.verdict(claim.key, found, probed)
        known = verdict.because, beside.get(claim.key, ""), WITHOUT_RECORDINGS.get(claim.key, lambda: "")()
        links = ", ".join(f"[{_page_name(page)}](../notebooks/{page}.ipynb)" for page in claim.notebooks)
        rows.append((f"{claim.says} Tested on {links}.", f"**{verdict.found}**", "<br>".join(filter(None, known))))
    return _table(("the abstract says", "verdict", "what is known"), rows)


def measurements_table(committed: Sequence[records.Record], built: Sequence[records.Record]) -> str:
    """Claim by claim the runs that test it, as far as they were measured on recordings."""
    rows = []
    spoken = {r.run for r in built if r.speech == "synthetic"}
    for claim in paper.CLAIMS:
        needed = claims.NEEDED[claim.key]
        measured = "<br>".join(f"{m}." for m in claims.behind(claim.key, [*committed, *built]))
        machinery = " The machinery runs on synthetic speech." if spoken.issuperset(needed) else ""
        rows.append((claim.key, measured or f"Not yet measured on recordings.{machinery}"))
    return _table(("claim", "its runs on the same test recordings"), rows)


def coverage_table(committed: Sequence[records.Record], built: Sequence[records.Record]) -> str:
    """Which corpora and splits any record of recordings covers."""
    people = [r for r in (*committed, *built) if r.speech == "recordings"]
    names = dict.fromkeys((*facts.CORPORA, *(r.corpus for r in people)))

    def cell(corpus: str, protocol: str) -> str:
        here = [r for r in people if (r.corpus, r.protocol) == (corpus, protocol)]
        said = []
        for kind, of in (
            ("network", [r for r in here if r.run not in config.BASELINES]),
            ("baseline", [r for r in here if r.run in config.BASELINES]),
        ):
            runs = len({r.run for r in of})
            said += [f"{runs} {kind}{'s' * (runs > 1)}, fold {notebook.ranges(r.fold for r in of)}"] * bool(of)
        return "; ".join(said) or "not measured here"

    rows = [(f"`{p}` ({splits.HELD_OUT[p]})", *(cell(name, p) for name in names)) for p in splits.HELD_OUT]
    return _table(("protocol", *map(known.title, names)), rows)


def measured_table(committed: Sequence[records.Record]) -> str:
    """Of every corpus the main runs: what is published, and what was measured on each kind of part."""
    shown = (*config.BASELINES, *experiments.PROTOCOL)
    found = claims.accuracies(r for r in committed if r.run in shown and r.configuration.schedule in SHOWN_SCHEDULES)
    rows = []
    for corpus in facts.CORPORA:
        here = [a for a in found if a.corpus == corpus]
        runs = dict.fromkeys((*(a.run for a in here), "teacher", "student-pooled"))
        for run in sorted(runs, key=shown.index):
            cells = {kind: ", ".join(map(_reached, of)) for kind, of in _by_kind(here, run).items()}
            stated = claims.published(corpus, run) if run in ("teacher", "student-pooled", "student-tokens") else None
            kinds = (cells.get(kind, "not measured here") for kind in ("trained", splits.KNOWN, splits.NEW))
            name = facts.title(corpus).replace("-", "\N{NON-BREAKING HYPHEN}")
            rows.append((name, f"`{run}`", "" if stated is None else f"{100 * stated:.2f}", *kinds))
    head = ("corpus", "run", "published", "trained on", f"held out, {splits.KNOWN}", f"held out, {splits.NEW}")
    return _table(head, rows)


def _by_kind(found: Iterable[claims.Accuracy], run: str) -> dict[str, list[tuple[metrics.Interval, Sequence[str]]]]:
    """A run's accuracies by what was held out; "trained" is the training set of random splits, if there are any."""
    of_run = [a for a in found if a.run == run and a.protocol not in (*splits.AUGMENTED, splits.SELECTION)]
    kinds: dict[str, list[tuple[metrics.Interval, Sequence[str]]]] = {}
    for a in of_run:
        kinds.setdefault(a.held_out, []).append((a.at, (*a.drawn, *a.lacks)))
    for a in sorted(of_run, key=lambda a: a.protocol != "random")[:1]:
        kinds["trained"] = [(a.trained, a.lacks)]
    return kinds


def _reached(accuracy: tuple[metrics.Interval, Sequence[str]]) -> str:
    at, lacks = accuracy
    return notebook.percent(at) + (f" ({', '.join(lacks)})" if lacks else "")


def beyond_note(committed: Sequence[records.Record]) -> str:
    """Of each corpus with speakers that choose: what was tried beyond the paper, and what came of it."""
    corpora_of = [
        name for name in facts.CORPORA if any((r.corpus, r.protocol) == (name, splits.SELECTION) for r in committed)
    ]
    said = (f"{facts.title(name)}: {beyond.summary(r for r in committed if r.corpus == name)}" for name in corpora_of)
    return " ".join(said) or "Nothing was tried yet."


def build_note(built: Sequence[records.Record]) -> str:
    """What speech this build's runs were made from, and how long they trained."""
    if not built:
        return "This build holds no runs."
    counts = Counter((r.speech, r.corpus, r.configuration.training.epochs) for r in built)
    said = []
    for speech, words in (("recordings", "recordings of people"), ("synthetic", "synthetic speech")):
        corpora_of = ", ".join(
            f"{facts.title(corpus)} ({number} {'run' if number == 1 else 'runs'}, {epochs} epochs a stage)"
            for (kind, corpus, epochs), number in sorted(counts.items())
            if kind == speech
        )
        said += [f"{words}: {corpora_of}"] if corpora_of else []
    people = (
        ""
        if any(r.speech == "recordings" for r in built)
        else " No recording of a person was used for them. The verdicts and accuracies below rest on the committed records of people's recordings instead."
    )
    return f"This build's runs were made from {'; '.join(said)}.{people}"


def choices() -> dict[str, tuple[str, str]]:
    """For every setting in :data:`companion.paper.STATED`: what is used here, and why."""
    features, model, training = config.Features(), config.TEACHER, config.SCHEDULES["paper"]
    window, hop = (1000 * n / features.sample_rate for n in (features.window_length, features.hop_length))
    transfer = config.RUNS["student-pooled"]
    deep = config.RUNS["teacher-deep"].model
    alphas = sorted({run.alpha for run in config.RUNS.values()} - {transfer.alpha})
    return {
        "image": (notebook.times(features.image_size), "as stated"),
        "patch": (notebook.times(model.patch_size), "as stated"),
        "stem": (", ".join(map(str, model.stem)) + " channels", "as stated"),
        "coordinates": (
            "after the stem, each axis divided by its own length",
            "the released divisors are swapped, which matters only for images that are not square; "
            "`swapped_divisors=True` keeps them",
        ),
        "token width": (str(model.width), "as stated"),
        "teacher": (
            f"depth {model.depth}, {model.heads} heads; also `teacher-deep`: depth {deep.depth}, {deep.heads} heads",
            "two are stated; the smaller is the default",
        ),
        "student": (f"depth {config.STUDENT.depth}, {config.STUDENT.heads} heads", "as stated"),
        "stages": (
            ", ".join(f"{s.epochs} epochs a stage in schedule `{name}`" for name, s in STATED_SCHEDULES.items()),
            "`paper` is as stated; `validated` takes the epoch that a tenth of the training set prefers; `watched` notes the test accuracy after each epoch; `bfloat16` multiplies in half the bits; the others are shorter; "
            "the epochs are named on every page",
        ),
        "feature map": (
            f"the {'pooled vector' if transfer.match == 'pooled' else 'token map'}; the other as `student-tokens`",
            "inferred from what the released models return; both can be run",
        ),
        "spectrogram": (
            f"{features.seconds:g} s at a hop of {hop:g} ms: {features.n_frames:,} frames, resized to "
            f"{features.image_size[1]} columns (bilinear, antialiased)",
            "inferred from the released image widths; longer recordings are cut, shorter ones end in black",
        ),
        "MLP width": (str(model.mlp_width), "twice the token width"),
        "dropout": (f"{model.dropout:g}", "the fewest assumptions"),
        "alpha": (
            f"{transfer.alpha:g}; also {' and '.join(f'{alpha:g}' for alpha in alphas)}",
            "equal weights; the others show how much it matters",
        ),
        "optimiser, rate, schedule": (
            f"AdamW, {training.learning_rate:g} at the peak of one cycle, weight decay {training.weight_decay:g}",
            "usual for small transformers",
        ),
        "batch size": (
            f"{training.batch_size}; {config.SCHEDULES['synthetic'].batch_size} in schedule `synthetic`",
            "the default of the released code; the miniature corpora are small",
        ),
        "precision": (
            "single; products in bfloat16 in schedule `paper-bf16` and where a record says so",
            "bfloat16 is quicker; the page of the evidence says what it changes",
        ),
        "sampling rate, FFT, mel range": (
            f"{features.sample_rate:,} Hz, Hann window of {window:g} ms, {features.fft_length} points, "
            f"{features.low_frequency:g} to {features.high_frequency:g} Hz, Slaney's mel scale and norm",
            "the rate of EmoDB and CREMA-D (SAVEE is resampled); long enough that no mel filter is empty",
        ),
        "normalisation": (
            f"decibels below the recording's loudest point, {features.dynamic_range:g} dB to black, values in [0, 1]; "
            "the picture's first channel as `inferno-red`",
            "linear in decibels, without a colour map on the way",
        ),
        "split": (
            ", ".join(f"`{name}`" for name in splits.PROTOCOLS),
            "none is stated; the split is named beside every number",
        ),
    }


def choices_table() -> str:
    """Every setting: what is stated, with its source; what is used here, and why."""
    rows = []
    here = choices()
    for name, (stated, source) in paper.STATED.items():
        chosen, why = here[name]
        stated = stated.replace("not known", "not stated in the material at hand")
        rows.append((name, f"{stated} [{source}]", f"**{chosen}**. {why[0].upper()}{why[1:]}."))
    return _table(("setting", "stated", "here, and why"), rows)


def runs_table() -> str:
    """Every run as what it changes against the paper's teacher or the student alone."""

    def changes(run: config.Run) -> str:
        base = config.TEACHER if run.model.stem or run.model.depth == config.TEACHER.depth else config.STUDENT
        words = [f"{f.name} = {getattr(run.model, f.name)}" for f in fields(base) if _differs(run.model, base, f.name)]
        if run.seconds:
            words.append(f"{run.seconds:g} s of sound in the image")
        if run.teacher:
            words += [f"follows `{run.teacher}`", f"match = {run.match}", f"alpha = {run.alpha:g}"]
            words += [] if run.matching_stage else ["without stage (b)"]
        return f"the {'teacher' if base is config.TEACHER else 'student'}" + (": " + ", ".join(words) if words else "")

    return _table(("run", "network and training"), [(f"`{name}`", changes(run)) for name, run in config.RUNS.items()])


def _differs(model: config.Model, base: config.Model, name: str) -> bool:
    return getattr(model, name) != getattr(base, name)


def _settings() -> dict[str, Any]:
    features, teacher, student = config.Features(), config.TEACHER, config.STUDENT
    bootstrap = inspect.signature(metrics.bootstrap).parameters
    return {
        "paper_title": paper.TITLE,
        "image": notebook.times(features.image_size),
        "wide_image": notebook.times((features.mel_bands, features.n_frames)),
        "patch": notebook.times(student.patch_size),
        "patches": student.num_patches,
        "teacher_patch_values": teacher.patch_values,
        "student_patch_values": student.patch_values,
        "stem_channels": ", ".join(map(str, teacher.stem)),
        "stem_convolutions": len(teacher.stem),
        "width": student.width,
        "head_width": student.head_width,
        "mlp_width": student.mlp_width,
        "teacher_depth": teacher.depth,
        "teacher_heads": teacher.heads,
        "student_depth": student.depth,
        "student_heads": student.heads,
        "alpha": f"{config.RUNS['student-pooled'].alpha:g}",
        "mel_bands": features.mel_bands,
        "seconds": f"{features.seconds:g}",
        "frames": f"{features.n_frames:,}",
        "sample_rate": f"{features.sample_rate:,}",
        "dynamic_range": f"{features.dynamic_range:g}",
        **{f"epochs_{name.replace('-', '_')}": schedule.epochs for name, schedule in STATED_SCHEDULES.items()},
        "folds": splits.FOLDS,
        "fewest_speakers": metrics.MIN_CLUSTERS,
        "bootstrap_draws": f"{bootstrap['draws'].default:,}",
        "bootstrap_level": f"{bootstrap['level'].default:.0%}".replace("%", " %"),
    }


@cache
def _counted() -> dict[str, str]:
    """Parameters and operations, counted on running networks of seven classes."""
    from serlib import flops

    teacher, student = flops.count(config.TEACHER), flops.count(config.STUDENT)
    return {
        "classes_counted": str(config.STUDENT.num_classes),
        "teacher_parameters": f"{teacher.parameters:,}",
        "teacher_flops": f"{teacher.flops:,}",
        "teacher_stem_flops": f"{teacher.stem_flops:,}",
        "student_parameters": f"{student.parameters:,}",
        "student_flops": f"{student.flops:,}",
        "flops_ratio": f"{100 * student.flops / teacher.flops:.1f} %",
    }


@cache
def _attainable() -> dict[str, int]:
    """How many published accuracies are k/N for a whole k and N all utterances, 80 % or 20 % of them, rounded up or down."""
    found = Counter({"whole": 0, "train": 0, "test": 0})
    for p in paper.PUBLISHED:
        total = facts.CORPORA[p.corpus].utterances
        fifth = {total // 5, -(-total // 5)}
        for name, sizes in (("whole", {total}), ("train", {total - n for n in fifth}), ("test", fifth)):
            found[name] += any(k for n in sizes for k in metrics.attainable(p.value, n).values())
    return dict(found)


def _accuracy_arithmetic() -> str:
    fits = _attainable()
    return (
        f"Arithmetic: of the {len(paper.PUBLISHED)} published accuracies, {fits['train']} can be counts over 80 % of their "
        f"corpus, {fits['whole']} over all of it, {fits['test']} over 20 % of it."
    )


def _cost_counted() -> str:
    from serlib import flops

    counted = _counted()
    others, name = min((other.flops, name) for name, other in flops.others().items())
    return (
        f"Counted: the student needs {counted['student_flops']} operations an image, {counted['flops_ratio']} of the "
        f"teacher's {counted['teacher_flops']}; the smallest of the other networks counted here, {name}, needs {others:,}."
    )


def _patches_cost() -> str:
    from serlib import flops

    runs = (*claims.NEEDED["vertical patches"], claims.AT_EQUAL_COST[1])
    vertical, square, horizontal = (flops.count(config.RUNS[run].model).flops for run in runs)
    return f"Counted: square patches need {square / vertical:.0%} of the operations, horizontal ones {horizontal / vertical:.0%}."


def _order_theorem() -> str:
    return "Proved: with any weights, the student's logits do not depend on the order of the columns."


def _probed(found: Sequence["Probe"]) -> dict[str, str]:
    """What probes of networks say of two claims."""
    from serlib import probes

    teacher, without, matched = [], [], []
    for (_, corpus, _, protocol), runs in probes.grouped(found).items():
        held_out = f"{facts.title(corpus)}, {splits.HELD_OUT[protocol]}, fold"
        compared = {run: probes.compared(run, runs) for run in runs}
        if "teacher" in runs:
            folds = notebook.ranges(p.fold for p in runs["teacher"])
            whole = probes.pooled(runs["teacher"])
            teacher.append(f"{notebook.share(whole.explained(whole.last))} ({held_out} {folds})")
        if c := compared.get("teacher-no-position"):
            explained = notebook.share(c.ours.explained(c.ours.last))
            without.append(f"{explained} ({held_out} {notebook.ranges(c.folds)})")
        if c := compared.get("student-pooled"):
            matched.append(f"{notebook.share(c.gain, '+')} ({held_out} {notebook.ranges(c.folds)})")
    said = {}
    if teacher:
        apart = f" Trained without coordinates: {'; '.join(without)}." if without else ""
        said["coordinate encoding"] = (
            f"Probed: the teacher's last tokens tell their column's number with an R2 of {'; '.join(teacher)}.{apart}"
        )
    if matched:
        said["transfer"] = f"Probed: matching changes the R2 of the student's tokens by {'; '.join(matched)}."
    return said


def _matched_otherwise(found: Sequence[records.Record]) -> str:
    """Transfer beside its verdict: the other feature map, and both maps where precision differs in no fold."""

    def gained(match: str, used: Iterable[records.Record]) -> list[str]:
        return [m.compared for m in claims.measurements((f"student-{match}", "student-alone"), used)]

    same = claims.as_precise(found)
    pooled, tokens = (gained(match, found) for match in ("pooled", "tokens"))
    precise = [
        f"{words}: {'; '.join(new)}"
        for words, match, above in (("pooled", "pooled", pooled), ("token map", "tokens", tokens))
        if (new := [at for at in gained(match, same) if at not in above])
    ]
    said = [
        f"The verdict is of matching the pooled vector; matching the token map instead: {'; '.join(tokens)}."
    ] * bool(tokens)
    said += [f"With one precision in every fold, {', '.join(precise)}."] * bool(precise)
    return "<br>".join(said)


def _in_versions(committed: Sequence[records.Record]) -> str:
    """What an accuracy is where other versions of the test utterances were trained on."""
    apart = [r for r in committed if splits.HELD_OUT[r.protocol] == splits.VERSIONS]
    figures = "; ".join(
        f"{facts.title(r.corpus)}, `{r.run}` {notebook.percent(notebook.accuracy(r))} "
        f"({len(r.parts['test'].file):,} predictions, `{r.protocol}`)"
        for r in notebook.pooled(apart)
    )
    return f"On {splits.VERSIONS}: WA % {figures}." if figures else ""


# What is known of a claim without any recording: arithmetic, counts, proofs.
WITHOUT_RECORDINGS = {
    "vertical patches": _patches_cost,
    "transfer": _order_theorem,
    "accuracy": _accuracy_arithmetic,
    "cost": _cost_counted,
}


def _corpora() -> dict[str, str]:
    known = facts.CORPORA.values()
    rows = [
        (
            f"{f.title} {{cite}}`{f.reference}`",
            f.language,
            f.speakers,
            f"{f.utterances:,}",
            f"{f.sample_rate / 1000:g}",
            f.durations,
            f.terms,
        )
        for f in known
    ]
    mini = [
        (
            facts.CORPORA[name].title,
            ", ".join(m.speakers),
            ", ".join(m.sentences),
            len(facts.CORPORA[name].emotions),
            len(m.speakers) * len(m.sentences) * len(facts.CORPORA[name].codes),
        )
        for name, m in synthetic.MINIATURES.items()
    ]
    signed = ("volume", "tilt")  # decibels
    prosody = [
        (
            emotion,
            *(format(v, "+g" if v and f.name in signed else "g") for f in fields(p) for v in [getattr(p, f.name)]),
        )
        for emotion, p in synthetic.PROSODY.items()
    ]
    return {
        "corpora_table": _table(
            ("corpus", "language", "speakers", "utterances", "rate (kHz)", "durations", "terms"), rows
        ),
        "emotions_table": _table(
            ("emotion", *(f.title for f in known)),
            [
                (emotion, *(f"{f.class_counts[emotion]:,}" if emotion in f.class_counts else "" for f in known))
                for emotion in sorted({emotion for f in known for emotion in f.emotions})
            ],
        ),
        "names_table": _table(
            ("corpus", "a file is called", "emotion codes"),
            [
                (
                    f.title,
                    "`" + corpora.EXAMPLES[f.name].replace(" or ", "` or `") + "`",
                    ", ".join(f"`{code}` {name}" for code, name in f.codes.items()),
                )
                for f in known
            ],
        ),
        "silent_files": ", ".join(f"`{name}`" for name in facts.CREMA_D_SILENT),
        "identical_table": _table(
            ("first file", "second file"), [[f"`{name}`" for name in pair] for pair in facts.CREMA_D_IDENTICAL]
        ),
        "emodb_hashes": f"{len(download.manifest('emodb')):,}",
        "crema_d_hashes": f"{len(download.manifest('crema-d')):,}",
        "emodb_archive": f"[one archive]({download.ADDRESSES['emodb']})",
        "miniatures_table": _table(("corpus", "speakers", "sentences", "emotions", "files"), mini),
        "prosody_table": _table(("emotion", *(f.name.replace("_", " ") for f in fields(synthetic.Prosody))), prosody),
    }


def _record_rows() -> list[tuple[str, str]]:
    return [
        ("`version`", "of the record's format; a record of another version is refused"),
        *((f"`{f.name}`", RECORD_FIELDS[f.name]) for f in fields(records.Record)),
        ("`digest`", "SHA-256 over everything else in the file; an edited record is refused"),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return notebook.table(head, rows).data


def _page_name(page: str) -> str:
    """``fig6_attention`` as "Figure 6", ``audit_splits`` as "audit: splits"."""
    kind, _, rest = page.partition("_")
    for short, long in (("fig", "Figure "), ("table", "Table ")):
        if kind.startswith(short):
            return long + kind.removeprefix(short)
    return f"{kind}: {rest}"
