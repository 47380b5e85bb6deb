"""The numbers of the book's prose: computed here, written there as ``{{ name }}``.

Links are relative to ``book/``, where the prose lies.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from companion import beyond, claims, costs, experiments, front, paper, reach, results, text
from companion.evidence import Evidence, read
from serlib import config, metrics, records
from serlib.data import corpora, download, facts, splits, synthetic
from studies import variants


def values(root: Path, book: Path | None = None, whence: str = "") -> dict[str, Any]:
    """Every substitution of the prose. ``root`` is a checkout; without records in it, the tables say so.

    Args:
        book: where the pictures and sounds that the substitutions show are made; None: they are not.
        whence: see :func:`byline`.

    Returns:
        name to Markdown (a number, a phrase, a table of several lines), or to such values by name.
    """
    evidence = read(root)
    shown = front.tables(evidence, root / "results/listeners")
    if book is not None:
        front.draw(shown, root / "results/figures", book)
    found = {
        "byline": whence or byline("the maintainers of the companion"),
        **_settings(),
        **_counted(),
        **_corpora(),
        "published_range": published_range(),
        "records_counted": str(len(evidence.runs)),
        "answer": answer(evidence, **shown),
        "front_pictures": front_pictures(**shown),
        "method_picture": _networks_pictures(),
        "synthetic_picture": _synthetic_picture(),
        "synthetic_players": _players(),
        "emotions_pictures": _emotions_pictures(root / "results/figures"),
        "badges": badges(evidence),
        "claims_table": claims_table(evidence),
        "comparisons_table": comparisons_table(evidence),
        "coverage_table": coverage_table(evidence),
        "noise_note": noise_note(evidence),
        "coordinates_gain": coordinates_gain(evidence),
        "build_note": build_note(records.read_all(root / "build/runs")),
        "sources": "; ".join(f"[{tag}] {words}" for tag, words in paper.SOURCES.items()),
        "settings_chips": settings_chips(),
        "runs_table": runs_table(),
    }
    return found


def byline(author: str, address: str = "", doi: str = "") -> str:
    """Who made this book, and where its code and its archive lie; what is not known has no place in it."""
    said = [f"By {author}."]
    said += [f"Code: [{address.partition('//')[2]}]({address}), `git clone {address}`."] if address else []
    said += [f"Archive: [doi.org/{doi}](https://doi.org/{doi})."] if doi else []
    return " ".join(said)


ORDER = ("supported", "ruled out", "not reached", "unclear", "pending")  # of findings, the most decided first


def badges(evidence: Evidence) -> str:
    """A card for each claim: what it says, and in one sentence what is found of its parts."""
    cards = []
    for claim in paper.CLAIMS:
        rows = evidence.verdicts[evidence.verdicts["claim"] == claim.key]
        said = ". ".join(
            f'<span class="verdict {found.replace(" ", "_")}">{found}</span> {"; ".join(_parts(rows[rows["finding"] == found]))}'
            for found in ORDER
            if found in set(rows["finding"])
        )
        cards += [
            f":::{{grid-item-card}} {claim.short}\n:link: ../notebooks/{claim.notebooks[0]}\n:link-type: doc\n",
            f"{said}.\n:::\n",
        ]
    return "\n".join((":::::{grid} 1 2 3 3\n:gutter: 2\n", *cards, ":::::"))


def _parts(rows: pd.DataFrame) -> list[str]:
    """What the parts of some verdicts say, each once; what is pending at both sizes of network is one part."""
    pending = rows["finding"].eq("pending")
    return list(dict.fromkeys(rows["part"].where(~pending, rows["part"].str.removesuffix(f", {claims.SMALL}"))))


def answer(evidence: Evidence, accuracy: pd.DataFrame, beside: pd.DataFrame, **_: pd.DataFrame) -> str:
    """What holds, what does not, what is open, and what came near the published number: a sentence each."""
    kinds = {
        "What holds": ("supported",),
        "What does not": ("not reached", "ruled out"),
        "No clear gain": ("unclear",),
        "Too few runs to say": ("pending",),
    }
    lines = []
    for kind, findings in kinds.items():
        said = "; ".join(_parts(evidence.verdicts[evidence.verdicts["finding"].isin(findings)]))
        lines += [f"- **{kind}:** {said}."] if said else []
    near = accuracy[accuracy["what"].isin((front.TRAINED, front.COPIES)) & accuracy["run"].ne("")]
    shares = (
        f"{words} ({100 * near.loc[near['what'] == what, 'estimate'].max():.0f} %)"
        for what, words in (
            (front.TRAINED, "on the training set"),
            (front.COPIES, "with copies of test utterances in training"),
        )
        if (near["what"] == what).any()
    )
    stated = f"The published {published_range()} % was approached only {' and '.join(shares)}. " if len(near) else ""
    return "\n".join((*lines, f"- **Near the published number:** {stated}{headline(beside)}"))


def front_pictures(accuracy: pd.DataFrame, gains: pd.DataFrame, beside: pd.DataFrame) -> str:
    """The pictures of the home page, with their data."""
    above = int((gains["low"] > 0).sum())
    pictures = {
        "accuracy": (
            f"In per cent: {text.estimates(accuracy, '.1f')}",
            f"{text.display_name(front.RUN)}, by how its test set was chosen. Hollow: published for the student with teacher, split not stated.",
        ),
        "gains": (
            f"{above} of {len(gains)} intervals lie above zero. Points gained: {text.estimates(gains, '+.1f')}",
            "What each part of the method gains on new speakers.",
        ),
        "beside": (
            f"In per cent: {text.estimates(beside, '.1f')}",
            "New speakers: the student with teacher, with additions, another classifier, and people who listened.",
        ),
    }
    return _grid(
        _picture(
            name,
            alt,
            f"{caption} {{download}}`Data (CSV) <figures/{name}.csv>` · {{download}}`Code <../companion/front.py>`",
        )
        for name, (alt, caption) in pictures.items()
    )


def _networks_pictures() -> str:
    """Teacher beside student, step by step, and what each costs."""
    steps = _grid(
        _picture(name, f"{'; '.join(f'{step}, {gives}' for step, gives in boxes)}.", f"The {name} and its tensors.")
        for name, boxes in front.networks().items()
    )
    said = (
        f"{name}, {cost.parameters / 1e6:.1f} million parameters and {cost.flops / 1e9:.2f} GFLOP, {cost.stem_flops / cost.flops:.0%} in the stem"
        for name, cost in front.network_costs().items()
    )
    return f"{steps}\n\n" + _picture("costs", f"Per network: {'; '.join(said)}.", "What both networks cost.")


def _grid(items: Iterable[str]) -> str:
    """Two columns, on a phone one below the other."""
    cells = (f":::{{grid-item}}\n{item}\n:::\n" for item in items)
    return "\n".join((":::::{grid} 1 1 2 2\n:margin: 0\n", *cells, ":::::"))


def published_range() -> str:
    """The lowest and the highest accuracy that is published for the student, in per cent: ``94 to 99``."""
    values = [float(p.value) for p in paper.PUBLISHED if p.model == "student"]
    return f"{min(values):.0f} to {max(values):.0f}"


def headline(accuracy: pd.DataFrame) -> str:
    """What the first picture says, in a sentence: the paper's student on new speakers, and what is published for it."""
    at = accuracy.assign(share=[f"{100 * share:.0f}\N{NO-BREAK SPACE}%" for share in accuracy["estimate"]])
    measured = [f"{row.share} ({facts.title(row.corpus)})" for row in at[at["what"] == front.MATCHED].itertuples()]
    if not measured:
        return "Nothing is measured yet."
    return f"On speakers it never heard, the student with teacher is right for {' and '.join(measured)}."


def _players() -> str:
    """A player for each emotion of the picture of synthetic speech."""
    sounds = (
        f'<figure><figcaption>{emotion}</figcaption><audio controls preload="none" src="../_static/speech/{emotion}.wav" '
        f'aria-label="Synthetic speech: {emotion}"></audio></figure>\n'
        for emotion in synthetic.PROSODY
    )
    return "\n".join(('<div class="players">\n', *sounds, "</div>"))


def _emotions_pictures(folder: Path) -> str:
    pictures = []
    for known in facts.CORPORA.values():
        if (folder / f"{known.name}.npz").exists():
            shown = front.emotions(folder / f"{known.name}.npz")
            seconds = {emotion: front.seconds(image) for emotion, image in shown.items()}
            alt = f"Seconds of sound: {', '.join(f'{emotion} {at:.1f}' for emotion, at in seconds.items())}."
            caption = f"{known.title}: one utterance of each emotion ({known.terms})."
            pictures.append(_picture(f"{known.name}-emotions", alt, caption))
    return "\n".join(pictures) or "None is committed."


def _synthetic_picture() -> str:
    changes = ", ".join(f"{emotion} {p.pitch:g} and {p.rate:g}" for emotion, p in synthetic.PROSODY.items())
    alt = f"Pitch and rate, times those of neutral speech: {changes}."
    return _picture("synthetic-emotions", alt, "One synthetic sentence in each emotion.")


def _picture(name: str, alt: str, caption: str) -> str:
    """A numbered picture that ``workflow/stage.py`` draws beside the pages; ``picture-<name>`` refers to it."""
    alt = " ".join(alt.split())
    return f"```{{figure}} figures/{name}.svg\n:name: picture-{name}\n:alt: {alt}\n\n{caption}\n```\n"


def claims_table(evidence: Evidence) -> str:
    """Claim by claim: what the abstract says, and the finding and sentence of each part. No verdict is typed."""
    rows = []
    for claim in paper.CLAIMS:
        links = ", ".join(f"[{_page_name(page)}](../notebooks/{page}.ipynb)" for page in claim.notebooks)
        said = f"{claim.says} Tested on {links}."
        for row in evidence.verdicts[evidence.verdicts["claim"] == claim.key].itertuples():
            rows.append((said, row.part, f"**{row.finding}**", row.sentence))
            said = ""
    return _table(("the abstract says", "part", "finding", "what it rests on"), rows)


def comparisons_table(evidence: Evidence) -> str:
    """Every comparison that tests a claim, with its label."""
    table, rows = evidence.comparisons, []
    for claim in paper.CLAIMS:
        here = table[table["family"].eq(claim.key) & table["measure"].eq("WA")]
        rows += [(claim.key, *row) for row in text.comparison_rows(here)]
    return _table(("claim", *text.COMPARISON_HEAD), rows)


def coverage_table(evidence: Evidence) -> str:
    """Which corpora and protocols any committed record covers."""
    runs = evidence.runs
    names = results.in_order({*facts.CORPORA, *runs["corpus"]})
    kind = runs["run"].isin(variants.BASELINES).map({True: "baseline", False: "network"})
    there = runs.groupby(["protocol", "corpus", kind]).agg(runs=("run", "nunique"), folds=("fold", set))
    cells: dict[tuple[str, str], list[str]] = {}
    for (protocol, corpus, what), count, folds in there.sort_index(ascending=False).itertuples():
        said = f"{count} {what}{'s' * (count > 1)}, fold {text.ranges(folds)}"
        cells.setdefault((protocol, corpus), []).append(said)
    rows = [
        (f"`{p}` ({words})", *("; ".join(cells.get((p, name), ["not measured here"])) for name in names))
        for p, words in splits.HELD_OUT.items()
    ]
    return _table(("protocol", *map(facts.title, names)), rows)


def _about(row: Any) -> str:
    """What an accuracy was measured on: draws or missing folds, fewer epochs, speakers, seeds."""
    about = [f"draws {row.folds}"] if row.protocol in splits.DRAWN else []
    about += [f"{row.missing} folds missing"] if row.missing else []
    about += [f"{row.epochs} epochs"] if row.epochs < config.SCHEDULES["paper"].epochs else []
    return ", ".join([*about, text.counted(row)])


def beyond_summary(predicted: pd.DataFrame, compared: pd.DataFrame) -> str:
    """How many variants were tried, which was chosen, and what it does on other speakers."""
    found = beyond.tried(predicted)
    said = f"{len(found)} of {len(experiments.VARIANTS)} additions were tried. "
    variant = beyond.chosen(found)
    if variant == experiments.PLAIN:
        return said + "None does better on the speakers that choose than the student alone, so none is chosen."
    said += f"Best on the speakers that choose: {variant.adds} (`{variant.run}`, schedule `{variant.schedule}`). "
    outcome = compared[compared["family"].eq("additions") & compared["measure"].eq("UA")]
    if outcome.empty:
        return said + "On other speakers it has not been measured yet."
    (row,) = outcome.itertuples()
    return said + (
        f"On {row.speakers:.0f} other speakers it changes the unweighted accuracy of the student alone, "
        f"{text.percent(text.side(row, 'second'))} %, by {text.points(row)} points: {text.label(row)}."
    )


def noise_note(evidence: Evidence) -> str:
    """What a seed does to all speakers alike, and from how many trainings it was estimated."""
    said = (
        f"{facts.title(row.corpus)}, `{row.protocol}`: a standard deviation of {100 * row.deviation:.1f} points, {row.df:.1f} degrees of freedom"
        for row in evidence.seeds.itertuples()
    )
    return "; ".join(said) or "no run has more than one seed yet"


def coordinates_gain(evidence: Evidence) -> str:
    """Of the teacher's coordinates on CREMA-D's test actors, in points."""
    table = evidence.comparisons
    pair = table["first"].eq("teacher") & table["second"].eq("teacher-no-position")
    here = pair & table["corpus"].eq("crema-d") & table["measure"].eq("WA") & table["estimate"].notna()
    return "; ".join(text.points(row) for row in table[here].itertuples()) or "not measured"


def reach_note(evidence: Evidence, measure: results.Measure = "UA") -> str:
    """What the rule of :mod:`companion.reach` chose, what that gains on new speakers, and how far it is from openSMILE."""
    scores = reach.scores(evidence.predictions)
    if not reach.complete(scores):
        return "Nothing was tried yet."
    run, tried = reach.chosen(scores), len(reach.tries(scores)) - 1
    if run == reach.PLAIN:
        return f"{tried} additions were tried and none gains more than seeds differ, so none is chosen."
    said = [f"{tried} additions were tried. Chosen: {text.added(run)} (`{run}`)."]
    other = reach.chosen_as_committed(scores)
    if other != run:
        means = [100 * sum(scores[one]) / len(scores[one]) for one in (other, run)]
        said.append(
            f"The rule as committed allows no more FLOPs than the plain student's and chooses {text.added(other)} instead "
            f"({means[0]:.1f} on the actors for choosing, {means[1]:.1f} for the other)."
        )
    table = evidence.comparisons
    here = table[table["family"].eq("steps") & table["measure"].eq(measure) & table["first"].eq(run)]
    for corpus, of in here.groupby("corpus", sort=False):
        rows = {row.second: row for row in of.itertuples()}
        gained = rows[reach.PLAIN]
        sides = [100 * text.side(gained, name).estimate for name in ("first", "second")]
        beside = (
            [f"minus {text.display_name('opensmile')}: {text.points(rows['opensmile'])} points"]
            if "opensmile" in rows
            else []
        )
        said.append(
            f"{facts.title(corpus)} ({text.counted(gained)}, {gained.epochs:.0f} epochs): {measure} {sides[0]:.1f} %, without it {sides[1]:.1f} %, "
            + "; ".join([f"gain {text.points(gained)} points, {text.label(gained)}", *beside])
            + "."
        )
    return " ".join(said)


def build_note(built: Sequence[records.Record]) -> str:
    """What speech this build's runs were made from, and how long they trained."""
    if not built:
        return "This build holds no runs."
    counts = Counter((r.speech, r.corpus, r.epochs) for r in built)
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
        else " No recording of a person was used for them. The verdicts and accuracies of this book rest on committed records of people's recordings instead."
    )
    return f"This build's runs were made from {'; '.join(said)}.{people}"


def settings_chips() -> str:
    """Every setting as a chip that opens: what is stated, with its source; what is used here, and why."""
    kinds: dict[str, list[str]] = {"stated": [], "inferred": [], "chosen, because not stated": []}
    for s in paper.settings():
        kind = 2 if s.stated.startswith("not known") else 1 if "I" in s.sources else 0
        short = f" {s.here}" if len(s.here) < 32 and "`" not in s.here else ""
        kinds[[*kinds][kind]].append(
            f'<details class="chip"><summary><b>{s.name}</b>{short}</summary>\n\nStated: {s.stated} [{", ".join(s.sources)}]. '
            f"Here: **{s.here}**. Why: {s.why}.\n\n</details>"
        )
    groups = (
        f'<div class="chips"><span>{kind[0].upper()}{kind[1:]}</span>\n\n' + "\n".join(chips) + "\n\n</div>"
        for kind, chips in kinds.items()
    )
    return "\n\n".join(groups)


def runs_table() -> str:
    """Every run as what it changes against the paper's teacher or the student alone."""

    def changes(run: config.Run) -> str:
        base = config.TEACHER if run.model.stem or run.model.depth == config.TEACHER.depth else config.STUDENT
        words = [f"{name} = {at}" for name, at in vars(run.model).items() if at != getattr(base, name)]
        if run.epoch_factor != 1:
            words.append(f"{run.epoch_factor} times the epochs")
        if run.teacher:
            words += [f"follows `{run.teacher}`", f"match = {run.match}", f"alpha = {run.alpha:g}"]
            words += [] if run.matching_stage else ["without stage (b)"]
        return f"the {'teacher' if base is config.TEACHER else 'student'}" + (": " + ", ".join(words) if words else "")

    rows = [(f"`{name}`", changes(run)) for name, run in config.RUNS.items()]
    rows += [(f"`{name}`", f"the student: {variant.adds}") for name, variant in variants.VARIANTS.items()]
    return _table(("run", "network and training"), rows)


def _settings() -> dict[str, Any]:
    """Configurations by name, so that the prose says ``{{ teacher.depth }}``."""
    features, teacher, student = config.Features(), config.TEACHER, config.STUDENT
    return {
        "features": asdict(features)
        | {"n_frames": f"{features.n_frames:,}", "sample_rate": f"{features.sample_rate:,}"},
        "teacher": asdict(teacher) | {"patch_values": teacher.patch_values, "stem": ", ".join(map(str, teacher.stem))},
        "student": asdict(student) | {"patch_values": student.patch_values, "num_patches": student.num_patches},
        "alpha": f"{config.RUNS['student-pooled'].alpha:g}",
        "image": text.times(features.image_size),
        "wide_image": text.times((features.mel_bands, features.n_frames)),
        "patch": text.times(student.patch_size),
        "stem_convolutions": len(teacher.stem),
        "epochs": {name: schedule.epochs for name, schedule in config.SCHEDULES.items()},
        "folds": splits.FOLDS,
        "interval_level": f"{100 * metrics.LEVEL:.0f} %",
        "widest": f"{100 * claims.WIDEST:.0f}",
        "significance": f"{claims.ALPHA:.2g}",
        "seeds_needed": results.SEEDS,
    }


def _counted() -> dict[str, str]:
    """Parameters and operations of running networks of seven classes."""
    teacher, student = (costs.read()[name] for name in (costs.TEACHER, costs.STUDENT))
    shapes = []
    for run in ("teacher", "teacher-horizontal-patches", "teacher-square-patches"):
        network, cost = config.RUNS[run].model, costs.read()[run]
        about = text.times(network.patch_size), f"`{run}`", network.num_patches
        shapes.append((*about, f"{cost.parameters:,}", f"{cost.flops / 1e9:.2f}"))
    return {
        "classes_counted": str(config.STUDENT.num_classes),
        "teacher_parameters": f"{teacher.parameters:,}",
        "teacher_flops": f"{teacher.flops:,}",
        "teacher_stem_flops": f"{teacher.stem_flops:,}",
        "student_parameters": f"{student.parameters:,}",
        "student_flops": f"{student.flops:,}",
        "flops_ratio": text.share_of_operations(),
        "patch_shapes": _table(("patch, height x width", "run", "tokens", "parameters", "GFLOP per image"), shapes),
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
        "identical_pairs": "; ".join(" and ".join(f"`{name}`" for name in pair) for pair in facts.CREMA_D_IDENTICAL),
        "emodb_hashes": f"{len(corpora.manifest('emodb')):,}",
        "crema_d_hashes": f"{len(corpora.manifest('crema-d')):,}",
        "emodb_archive": f"[one archive]({download.ADDRESSES['emodb'][0]})",
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return text.table(head, rows).data


def _page_name(page: str) -> str:
    """``fig3_coordinates`` as "Figure 3", ``audit_splits`` as "audit: splits", ``attention_maps`` as it is spoken."""
    kind, _, rest = page.partition("_")
    return {"audit": f"audit: {rest}"}.get(kind) or re.sub(r"^fig(\d) .*", r"Figure \1", page.replace("_", " "))
