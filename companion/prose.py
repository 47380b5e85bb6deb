"""The numbers of the book's prose: the pages of ``book/`` are templates (:func:`workflow.stage.page`), their values are here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from companion import claims, costs, front, paper, reach, results, text
from companion.evidence import Evidence, read
from serlib import config, metrics
from serlib.data import corpora, facts, splits
from serlib.files import below
from studies import variants

MODULES = (claims, config, corpora, costs, facts, front, metrics, paper, results, splits, text)


def values(root: Path, book: Path | None = None, whence: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Everything that the pages name. ``root`` is a checkout; without records in it, the pages say so.

    Args:
        book: where the pictures and sounds that the pages show are made; None: they are not.
        whence: ``author`` of this book, ``address`` of its code, ``doi`` of its archive, as far as they are known.

    Returns:
        name to a number, a phrase, a table in Markdown, a function, several of them, or a module of :data:`MODULES`.
    """
    evidence = read(root)
    pictures = front.tables(evidence, root / "results/listeners")
    if book is not None:
        front.draw(pictures, root / "results/figures", book)
    stated = [float(p.value) for p in paper.PUBLISHED if p.model == "student"]
    form = {"accuracy": "z.1f", "gains": "+z.1f", "beside": "z.1f"}
    return {module.__name__.rpartition(".")[2]: module for module in MODULES} | {
        "whence": {"author": "the maintainers of the companion"} | dict(whence),
        "number": "{:,}".format,
        "features": config.Features(),
        "order": [finding.value for finding in claims.Finding],
        "parts": lambda findings, claim="", where=False: parts(evidence.verdicts, findings, claim, where),
        "of_claims": [vars(claim) | _of_claim(evidence, claim.key) for claim in paper.CLAIMS],
        "copied": list(front.copies(evidence).itertuples()),
        "matched": [row for row in pictures["beside"].itertuples() if row.what == front.MATCHED],
        "shown": {name: text.estimates(table, form[name]) for name, table in pictures.items()},
        "gains_above": f"{(pictures['gains']['low'] > 0).sum()} of {len(pictures['gains'])}",
        "published_range": f"{min(stated):.0f} to {max(stated):.0f}",
        "records_counted": len(evidence.runs),
        "built": made_from(root / "build/runs"),
        "seeds": list(evidence.seeds.itertuples()),
        "runs": {name: changes(run) for name, run in config.RUNS.items()}
        | {name: f"the student: {variant.adds}" for name, variant in variants.VARIANTS.items()},
        "emotions": [
            (known, {emotion: front.seconds(image) for emotion, image in front.emotions(path).items()})
            for name, known in facts.CORPORA.items()
            if (path := root / f"results/figures/{name}.npz").exists()
        ],
        "build_note": "",  # of `make read`
    }


def _of_claim(evidence: Evidence, claim: str) -> dict[str, Any]:
    """Its verdicts, and the comparisons that test it as rows of a table."""
    verdicts, compared = evidence.verdicts, evidence.comparisons
    here = compared[compared["family"].eq(claim) & compared["measure"].eq("WA")]
    return {"rows": list(verdicts[verdicts["claim"] == claim].itertuples()), "compared": text.comparison_rows(here)}


def parts(verdicts: pd.DataFrame, findings: Sequence[str], claim: str = "", where: bool = False) -> list[str]:
    """The parts of a claim, or of all, with one of some findings, each once; pending at both sizes of network is one.
    ``where``: a part that one corpus alone decides ends in its name.
    """
    rows = verdicts[verdicts["finding"].isin(findings) & (verdicts["claim"].eq(claim) | (not claim))]
    either = rows["part"].str.removesuffix(f", {claims.SMALL}")
    both = rows["finding"].eq("pending") & either.duplicated(keep=False)
    said = rows["part"].where(~both, either + ", at both sizes")
    alone = rows["corpora"].ne("") & ~rows["corpora"].str.contains(", ") & rows["finding"].ne("pending") & where
    return list(dict.fromkeys(said.where(~alone, said + " (" + rows["corpora"].map(facts.title) + " alone)")))


def made_from(folder: Path) -> dict[str, list[str]]:
    """By kind of speech what a folder of runs holds: the places of the records say it, and none is read."""
    found = Counter(path.relative_to(folder).parts[:4] for path in below(folder, ".json"))
    made: dict[str, list[str]] = {}
    for (speech, corpus, _, schedule), runs in sorted(found.items()):
        epochs = config.SCHEDULES[schedule].epochs if schedule in config.SCHEDULES else f"`{schedule}`"
        said = f"{facts.title(corpus)} ({runs} run{'s' * (runs > 1)}, {epochs} epochs a stage)"
        made.setdefault(speech, []).append(said)
    return made


def changes(run: config.Run) -> str:
    """What a run changes against the paper's teacher or the student alone."""
    base = config.TEACHER if run.model.stem or run.model.depth == config.TEACHER.depth else config.STUDENT
    words = [f"{name} = {at}" for name, at in vars(run.model).items() if at != getattr(base, name)]
    words += [f"{run.epoch_factor} times the epochs"] if run.epoch_factor != 1 else []
    if run.teacher:
        words += [f"follows `{run.teacher}`", f"match = {run.match}", f"alpha = {run.alpha:g}"]
        words += [] if run.matching_stage else ["without stage (b)"]
    return f"the {'teacher' if base is config.TEACHER else 'student'}" + (": " + ", ".join(words) if words else "")


def reach_note(evidence: Evidence, measure: results.Measure = "UA") -> str:
    """What the rule of :mod:`companion.reach` chose, what that gains on new speakers, and how far it is from openSMILE."""
    tries = evidence.tries
    run, tried = reach.chosen(tries), len(tries) - 1
    earlier = evidence.comparisons["family"].eq("additions, for choosing").sum()
    said = [
        f"{tried} additions were tried by one rule, {earlier} in an earlier search. Chosen: {text.added(run)} (`{run}`)."
    ]
    other = reach.chosen(tries, costs.read()[reach.PLAIN].flops)
    if other != run:
        means = 100 * tries.set_index("run")["mean"][[other, run]].to_numpy()
        said.append(
            f"The rule as committed allows no more FLOPs than the plain student's and chooses {text.added(other)} instead "
            f"(UA {means[0]:.1f} on the actors for choosing, {means[1]:.1f} for the other)."
        )
    table = evidence.comparisons
    here = table[table["family"].eq("steps") & table["measure"].eq(measure) & table["first"].eq(run)]
    for corpus, of in here.groupby("corpus", sort=False):
        rows = {row.second: row for row in of.itertuples()}
        gained, svm = rows[reach.PLAIN], rows.get("opensmile")
        sides = [text.share(at, 1) for at in (gained.first_estimate, gained.second_estimate)]
        beside = f" Minus {text.display_name('opensmile')}: {text.points(svm)} points." if svm else ""
        said.append(
            f"{facts.title(corpus)} ({text.counted(gained)}, {gained.epochs:.0f} epochs): {measure} {sides[0]}, without "
            f"it {sides[1]}, gain {text.points(gained)} points, {text.label(gained)}.{beside}"
        )
    return " ".join(said)
