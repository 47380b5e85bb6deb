"""The numbers of the book's prose: computed here, written there as ``{{ name }}``.

Links are relative to ``book/``, where the prose lies.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from companion import beyond, claims, experiments, front, paper, reach, results, text
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
    from studies import probes

    built = records.read_all(root / "build/runs")
    committed_records = records.read_all(root / "results/recordings")
    committed = results.predictions(committed_records)
    of_people = [r for r in built if r.speech == "recordings"]
    predicted = results.predictions([*committed_records, *of_people]) if of_people else committed
    shown = front.tables(predicted, root / "results/listeners")
    if book is not None:
        front.draw(shown, root / "results/figures", book)
    tokens = results.tokens(probes.read_all(root / "results/probes"))
    found = {
        "byline": whence or byline("the maintainers of the companion"),
        **_settings(),
        **_counted(),
        **_corpora(),
        "published_range": published_range(),
        "records_counted": str(len(committed_records)),
        "headline": headline(shown["accuracy"]),
        "seeds_note": seeds_note(predicted),
        "front_pictures": front_pictures(**shown),
        "method_picture": _networks_pictures(),
        "synthetic_picture": _synthetic_picture(),
        "synthetic_players": _players(),
        "emotions_pictures": _emotions_pictures(root / "results/figures"),
        "badges": badges(predicted, tokens),
        "claims_table": claims_table(predicted, tokens),
        "measurements_table": measurements_table(predicted),
        "coverage_table": coverage_table(predicted),
        "lacking_table": lacking_table(predicted, tokens),
        "measured_table": measured_table(committed),
        "noise_note": noise_note(committed),
        "build_note": build_note(built),
        "beyond_note": beyond_note(committed),
        "reach_note": reach_note(committed),
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


def badges(predicted: pd.DataFrame, tokens: pd.DataFrame) -> str:
    """A card for each claim: what it says, the verdict, one sentence, a link to the page that tests it."""
    cards = []
    for claim in paper.CLAIMS:
        v = claims.verdict(claim.key, predicted, tokens)
        cards += [
            f":::{{grid-item-card}} {claim.short}\n:link: ../notebooks/{claim.notebooks[0]}\n:link-type: doc\n",
            f'<span class="verdict {v.finding.name.lower()}">{text.found(v)}</span>\n\n{text.in_short(v)}\n:::\n',
        ]
    return "\n".join((":::::{grid} 1 2 3 3\n:gutter: 2\n", *cards, ":::::"))


def front_pictures(accuracy: pd.DataFrame, gains: pd.DataFrame) -> str:
    """The two pictures of the home page, with their data."""
    above = int((gains["low"] > 0).sum())
    pictures = {
        "accuracy": (
            f"{headline(accuracy)} In per cent: {text.estimates(accuracy, '.1f')}",
            f"Accuracy by how the test set was chosen: {text.display_name(front.RUN)}, where nothing else is named. Hollow: published, for the student with a teacher.",
        ),
        "gains": (
            f"{above} of {len(gains)} intervals lie above zero. Points gained: {text.estimates(gains, '+.1f')}",
            "What each part of the method gains on speakers that the network was not trained on.",
        ),
    }
    return _grid(
        _picture(name, alt, f"{caption} {{download}}`Data (CSV) <figures/{name}.csv>`")
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
        for name, cost in front.costs().items()
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
    stated = at.loc[at["what"] == front.PUBLISHED, "share"]
    if not measured:
        return "Nothing is measured yet."
    return (
        f"On speakers it never heard, the student is right for {' and '.join(measured)} of the utterances; "
        f"{' and '.join(stated)} are published, split not stated."
    )


def seeds_note(predicted: pd.DataFrame) -> str:
    """How many of the comparisons that decide rest on one seed."""
    noise = results.seed_noise(predicted)
    pairs = dict.fromkeys(pair for of_claim in claims.NEEDED.values() for pair in of_claim)
    deciding = [
        c
        for pair in pairs
        for c in claims.measurements(pair, predicted, noise)
        if c.decides and c.held_out == splits.NEW
    ]
    single = sum(c.difference.seeds == 1 for c in deciding)
    if not deciding:
        return "No comparison decides yet."
    return f"{single} of the {len(deciding)} comparisons that decide rest on one seed."


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


def claims_table(predicted: pd.DataFrame, tokens: pd.DataFrame) -> str:
    """Claim by claim: what the abstract says, the verdict by the rule, what it rests on. No verdict is typed."""
    beside = {**_probed(tokens), "accuracy": _in_versions(predicted)}
    beside["transfer"] = "<br>".join(filter(None, (_token_map(predicted), beside.get("transfer"))))
    rows = []
    for claim in paper.CLAIMS:
        v = claims.verdict(claim.key, predicted, tokens)
        known = text.because(v), beside.get(claim.key, ""), WITHOUT_RECORDINGS.get(claim.key, lambda: "")()
        links = ", ".join(f"[{_page_name(page)}](../notebooks/{page}.ipynb)" for page in claim.notebooks)
        rows.append((f"{claim.says} Tested on {links}.", f"**{text.found(v)}**", "<br>".join(filter(None, known))))
    return _table(("the abstract says", "verdict", "what is known"), rows)


def measurements_table(predicted: pd.DataFrame) -> str:
    """Every comparison that a claim rests on, with what it lacks to decide."""
    noise, rows = results.seed_noise(predicted), []
    for claim in paper.CLAIMS:
        pairs = claims.NEEDED[claim.key]
        compared = [c for pair in pairs for c in claims.measurements(pair, predicted, noise)]
        rows += [(claim.key, *row) for row in text.comparison_rows(compared)]
        measured = {(c.first, c.second) for c in compared}
        missing = (" minus ".join(map(text.display_name, pair)) for pair in pairs if pair not in measured)
        rows += [(claim.key, runs, "not measured on recordings", *[""] * 5) for runs in missing]
    return _table(("claim", *text.COMPARISON_HEAD), rows)


def lacking_table(predicted: pd.DataFrame, tokens: pd.DataFrame) -> str:
    """Of each claim the runs, and the probes, without which its verdict is not decided for good."""
    rows, probed = [], claims.position_gains(tokens)
    for claim in paper.CLAIMS:
        for corpus, (protocol, seeds) in claims.DECIDED_BY.items():
            left = claims.lacking(claim.key, corpus, predicted)
            said = [
                f"{text.display_name(run)}, seed {seed}, fold {text.ranges(folds)}"
                for (run, seed), folds in left.items()
            ]
            if claim.key == "coordinate encoding":
                speakers = facts.CORPORA[corpus].speakers - (probed[corpus].speakers if corpus in probed else 0)
                said += [f"as to position: probes on {speakers} more speakers"] if speakers else []
            where = f"{facts.title(corpus)}, `{protocol}`, seed{'s' * (len(seeds) > 1)} {text.ranges(seeds)}"
            rows.append((claim.key, where, "; ".join(said) or "nothing"))
    return _table(("claim", "decided by", "not there yet"), rows)


def coverage_table(predicted: pd.DataFrame) -> str:
    """Which corpora and protocols any record of recordings covers."""
    names = results.in_order({*facts.CORPORA, *predicted["corpus"]})
    kind = predicted["run"].isin(variants.BASELINES).map({True: "baseline", False: "network"})
    there = predicted.groupby(["protocol", "corpus", kind], observed=True).agg(
        runs=("run", "nunique"), folds=("fold", set)
    )
    cells: dict[tuple[str, str], list[str]] = {}
    for (protocol, corpus, what), runs, folds in there.sort_index(ascending=False).itertuples():
        said = f"{runs} {what}{'s' * (runs > 1)}, fold {text.ranges(folds)}"
        cells.setdefault((protocol, corpus), []).append(said)
    rows = [
        (f"`{p}` ({words})", *("; ".join(cells.get((p, name), ["not measured here"])) for name in names))
        for p, words in splits.HELD_OUT.items()
    ]
    return _table(("protocol", *map(facts.title, names)), rows)


def measured_table(predicted: pd.DataFrame) -> str:
    """Of every corpus the main runs: what is published, and what was measured on each kind of part."""
    shown, noise = [*variants.BASELINES, *experiments.PROTOCOL], results.seed_noise(predicted)
    rows = []
    for corpus in facts.CORPORA:
        here = reached(predicted[predicted["corpus"] == corpus], shown, noise)
        for run in [run for run in shown if run in here or run in ("teacher", "student-pooled")]:
            stated = claims.published(corpus, run)
            kinds = (here.get(run, {}).get(kind, "not measured here") for kind in ("trained", splits.KNOWN, splits.NEW))
            title = facts.title(corpus).replace("-", "\N{NON-BREAKING HYPHEN}")
            rows.append((title, text.display_name(run), "" if stated is None else f"{100 * stated:.2f}", *kinds))
    head = ("corpus", "run", "published", "training set", f"test set, {splits.KNOWN}", f"test set, {splits.NEW}")
    return _table(head, rows)


def reached(predicted: pd.DataFrame, runs: Sequence[str], noise: results.Noise) -> dict[str, dict[str, str]]:
    """By run and kind of part its accuracies in words; "trained" is the training set of the longest training of all.

    Of several schedules one is taken, see :func:`companion.results.longest`.
    """
    counts = predicted["protocol"].isin(splits.PROTOCOLS) & predicted["run"].isin(runs)
    best = results.longest(predicted[counts])
    kinds: dict[str, dict[str, list[str]]] = {}
    trained: dict[str, tuple[tuple[int, int], str]] = {}
    for (run, protocol), rows in sorted(best.items(), key=lambda item: item[0][1] != "random"):
        tested, fitted = (rows[rows["part"] == part] for part in ("test", "train"))
        about = [f"draws {text.ranges(rows['fold'])}"] if protocol in splits.DRAWN else []
        missing = results.missing_folds(rows)
        about += [f"{rows['fold'].nunique()} of {rows['fold'].nunique() + missing} folds"] if missing else []
        epochs = rows["epochs"].iloc[0]
        about += [f"{epochs} epochs"] if epochs < config.SCHEDULES["paper"].epochs else []
        of_run = kinds.setdefault(run, {})
        at = results.accuracy(tested, noise=noise)
        said = f"{text.percent(at)} ({', '.join([*about, text.counted(at)])})"
        of_run.setdefault(splits.HELD_OUT[protocol], []).append(said)
        rank = int(epochs), len(fitted)
        if run not in trained or rank > trained[run][0]:
            trained[run] = rank, f"{text.percent(results.accuracy(fitted))} (`{protocol}`)"
    for run, (_, said) in trained.items():
        kinds[run]["trained"] = [said]
    return {run: {kind: ", ".join(said) for kind, said in of.items()} for run, of in kinds.items()}


def noise_note(predicted: pd.DataFrame) -> str:
    """How large the seeds' part of an interval is, and from how many trainings it was estimated."""
    said = (
        f"`{protocol}`: a standard deviation of {100 * noise.variance**0.5:.1f} points, {noise.df} degree{'s' * (noise.df > 1)} of freedom"
        for protocol, noise in results.seed_noise(predicted).items()
    )
    return "; ".join(said) or "no run has more than one seed yet"


def beyond_note(predicted: pd.DataFrame) -> str:
    """Of each corpus with speakers that choose: what was tried beyond the paper, and what came of it."""
    said = []
    for corpus in facts.CORPORA:
        here = predicted[predicted["corpus"] == corpus]
        if (here["protocol"] == splits.SELECTION).any():
            said.append(f"{facts.title(corpus)}: {beyond_summary(here)}")
    return " ".join(said) or "Nothing was tried yet."


def beyond_summary(predicted: pd.DataFrame) -> str:
    """In a sentence or two: how many variants were tried, which was chosen, and what it does on other speakers."""
    found = beyond.tried(predicted)
    said = f"{len(found)} of {len(experiments.VARIANTS)} additions were tried. "
    variant = beyond.chosen(found)
    if variant == experiments.PLAIN:
        return said + "None does better on the speakers that choose than the student alone, so none is chosen."
    said += f"Best on the speakers that choose: {variant.adds} (`{variant.run}`, schedule `{variant.schedule}`). "
    outcome = beyond.reported(predicted, variant, beyond.choosers(found), results.seed_noise(predicted))
    if outcome is None:
        return said + "On other speakers it has not been measured yet."
    gain, (_, (_, plain)) = outcome.gain("UA"), outcome.accuracies(measure="UA")
    return said + (
        f"On {gain.speakers} other speakers it changes the unweighted accuracy of the student alone, "
        f"{text.percent(plain)} %, by {text.points(gain)} points: {text.direction(gain, gain.p)}."
    )


def reach_note(predicted: pd.DataFrame, measure: results.Measure = "UA") -> str:
    """What the rule of :mod:`companion.reach` chose, what that gains on new speakers, and how far it is from openSMILE."""
    scores, noise = reach.scores(predicted), results.seed_noise(predicted)
    if not reach.complete(scores):
        return "Nothing was tried yet."
    run, tried = reach.chosen(scores), len(reach.tries(scores)) - 1
    if run == reach.PLAIN:
        return f"{tried} additions were tried and none gains more than seeds differ, so none is chosen."
    said = [f"{tried} additions were tried. Chosen: {text.added(run)} (`{run}`)."]
    far = reach.reported(predicted, run, "opensmile", noise)
    for corpus, c in reach.reported(predicted, run, noise=noise).items():
        gain, reached = c.gain(measure), [100 * at.estimate for _, at in c.accuracies(measure=measure)]
        others = [far[corpus]] if corpus in far else []
        beside = (f"minus {text.display_name(o.second)}: {text.points(o.gain(measure))} points" for o in others)
        said.append(
            f"{facts.title(corpus)} ({text.counted(gain)}, {c.epochs} epochs): {measure} {reached[0]:.1f} %, without it {reached[1]:.1f} %, "
            + "; ".join([f"gain {text.points(gain)} points, {text.direction(gain, gain.p)}", *beside])
            + "."
        )
    return " ".join(said)


def aims_note(aims: pd.DataFrame) -> str:
    """How many aims each run reaches, of a table as :func:`companion.reach.aimed` gives it."""
    said = []
    for run, of_run in aims.groupby("run", sort=False):
        counts = []
        for (corpus, measure), rows in of_run.groupby(["corpus", "measure"], sort=False):
            listed = ", ".join(f"{100 * aim:.0f}" for aim in rows["aim"])
            outcomes = Counter(text.aimed(row.interval, row.aim) for row in rows.itertuples())
            nearly = outcomes[text.NEARLY]
            alone = f", {nearly} by the estimate alone" if nearly else ""
            counts.append(
                f"{outcomes[text.REACHED] or 'none'} of {facts.title(corpus)}'s {listed} % ({measure}){alone}"
            )
        known = "With unlabelled utterances of each test speaker" if variants.SPEAKER_NORM in run else "Aims reached"
        said.append(f"{known}: {'; '.join(counts)}.")
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
        short = f" {s.here}" if len(s.here) < 32 else ""
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
        "power": f"{100 * metrics.POWER:.0f} %",
    }


@cache
def _counted() -> dict[str, str]:
    """Parameters and operations, counted on running networks of seven classes."""
    from serlib import flops

    teacher, student = flops.count(config.TEACHER), flops.count(config.STUDENT)
    shapes = []
    for run in ("teacher", "teacher-horizontal-patches", "teacher-square-patches"):
        network, cost = config.RUNS[run].model, flops.count(config.RUNS[run].model)
        about = text.times(network.patch_size), f"`{run}`", network.num_patches
        shapes.append((*about, f"{cost.parameters:,}", f"{cost.flops / 1e9:.2f}"))
    return {
        "classes_counted": str(config.STUDENT.num_classes),
        "teacher_parameters": f"{teacher.parameters:,}",
        "teacher_flops": f"{teacher.flops:,}",
        "teacher_stem_flops": f"{teacher.stem_flops:,}",
        "student_parameters": f"{student.parameters:,}",
        "student_flops": f"{student.flops:,}",
        "flops_ratio": f"{100 * student.flops / teacher.flops:.1f} %",
        "patch_shapes": _table(("patch, height x width", "run", "tokens", "parameters", "GFLOP per image"), shapes),
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
    from studies.others import reference_networks

    counted = _counted()
    others, name = min((other.flops, name) for name, other in reference_networks().items())
    return (
        f"Counted: the student needs {counted['student_flops']} FLOPs per image, {counted['flops_ratio']} of the "
        f"teacher's {counted['teacher_flops']}; the smallest of the networks of others, {name}, needs {others:,}."
    )


def _patches_cost() -> str:
    from serlib import flops

    (teacher, squares), (_, rows) = claims.NEEDED["vertical patches"]
    vertical, square, horizontal = (flops.count(config.RUNS[run].model).flops for run in (teacher, squares, rows))
    return f"Counted: square patches need {square / vertical:.0%} of the FLOPs, horizontal ones {horizontal / vertical:.0%}."


def _order_theorem() -> str:
    return "Proved: with any weights, the student's logits do not depend on the order of the columns."


def _probed(tokens: pd.DataFrame) -> dict[str, str]:
    """What probes of networks say of two claims."""
    teacher, matched = [], []
    last = tokens[tokens["run"].eq("teacher") & tokens["last"].astype(bool)]
    for (corpus, protocol), both in last.groupby(["corpus", "protocol"]):
        _, rows = max(both.groupby("schedule"), key=lambda group: group[1]["speaker"].nunique())
        where = f"{facts.title(corpus)}, {splits.HELD_OUT[protocol]}, fold {text.ranges(rows['fold'])}"
        teacher.append(f"{text.fraction(results.explained(rows))} ({where})")
    for (corpus, protocol, _), (gain, rows) in results.position_r2_gain(
        tokens, "student-pooled", "student-alone"
    ).items():
        where = f"{facts.title(corpus)}, {splits.HELD_OUT[protocol]}, fold {text.ranges(rows['fold'])}"
        matched.append(f"{text.fraction(gain, '+')} ({where})")
    said = {
        "coordinate encoding": f"Probed: the teacher's last tokens tell their column's number with an R2 of {'; '.join(teacher)}.",
        "transfer": f"Probed: matching changes the R2 of the student's tokens by {'; '.join(matched)}.",
    }
    return {key: words for (key, words), of in zip(said.items(), (teacher, matched), strict=True) if of}


def _token_map(predicted: pd.DataFrame) -> str:
    """Transfer beside its verdict: the other feature map."""
    found = claims.measurements(("student-tokens", "student-alone"), predicted, results.seed_noise(predicted))
    return f"The verdict is of matching the pooled vector. The other map: {text.against(found)}." if found else ""


def _in_versions(predicted: pd.DataFrame) -> str:
    """What an accuracy is where other versions of the test utterances were trained on."""
    leaky = results.test(predicted[predicted["protocol"] == "augmented-leaky"])
    figures = "; ".join(
        f"{facts.title(corpus)}, {text.display_name(run)} {text.percent(results.accuracy(rows))}"
        for (corpus, run), rows in leaky.groupby(["corpus", "run"], observed=True)
    )
    return f"{splits.VERSIONS[0].upper()}{splits.VERSIONS[1:]}: WA % {figures}." if figures else ""


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
