"""The values that fill the templates of ``book/``; :func:`workflow.stage.page` renders them."""

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
        book: folder for the pages' pictures; None: none is drawn.
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
    """The verdicts on a claim, and the comparisons that test it as rows of a table."""
    verdicts, compared = evidence.verdicts, evidence.comparisons
    tested = compared[compared["family"].eq(claim) & compared["measure"].eq("WA")]
    return {"rows": list(verdicts[verdicts["claim"] == claim].itertuples()), "compared": text.comparison_rows(tested)}


def parts(verdicts: pd.DataFrame, findings: Sequence[str], claim: str = "", where: bool = False) -> list[str]:
    """The parts of a claim ("": of all) with one of ``findings``; a part that is pending at both sizes counts once.
    ``where``: a part that a single corpus decides ends in the corpus's name.
    """
    rows = verdicts[verdicts["finding"].isin(findings) & (verdicts["claim"].eq(claim) | (not claim))]
    without_size = rows["part"].str.split(f", {claims.LARGE}|, {claims.SMALL}", regex=True).str[0]
    both_sizes = rows["finding"].eq("pending") & without_size.duplicated(keep=False)
    texts = rows["part"].where(~both_sizes, without_size + ", at both sizes")
    one_corpus = rows["corpora"].ne("") & ~rows["corpora"].str.contains(", ") & rows["finding"].ne("pending") & where
    return list(dict.fromkeys(texts.where(~one_corpus, texts + " (" + rows["corpora"].map(facts.title) + " alone)")))


def made_from(folder: Path) -> dict[str, list[str]]:
    """The contents of a folder of runs by kind of speech, from the paths of the records; no record is read."""
    counts = Counter(path.relative_to(folder).parts[:4] for path in below(folder, ".json"))
    by_speech: dict[str, list[str]] = {}
    for (speech, corpus, _, schedule), runs in sorted(counts.items()):
        epochs = config.SCHEDULES[schedule].epochs if schedule in config.SCHEDULES else f"`{schedule}`"
        description = f"{facts.title(corpus)} ({runs} run{'s' * (runs > 1)}, {epochs} epochs a stage)"
        by_speech.setdefault(speech, []).append(description)
    return by_speech


def changes(run: config.Run) -> str:
    """The differences of a run from the paper's teacher or from the student alone."""
    base = config.TEACHER if run.model.stem or run.model.depth == config.TEACHER.depth else config.STUDENT
    words = [f"{name} = {value}" for name, value in vars(run.model).items() if value != getattr(base, name)]
    words += [f"{run.epoch_factor} times the epochs"] if run.epoch_factor != 1 else []
    if run.teacher:
        words += [f"follows `{run.teacher}`", f"match = {run.match}", f"alpha = {run.alpha:g}"]
        words += [] if run.matching_stage else ["without stage (b)"]
    return f"the {'teacher' if base is config.TEACHER else 'student'}" + (": " + ", ".join(words) if words else "")


def reach_note(evidence: Evidence, measure: results.Measure = "UA") -> str:
    """What the rule of :mod:`companion.reach` chooses, as committed and once widened: the findings on new speakers."""
    tries, table = evidence.tries, evidence.comparisons
    chosen, as_committed = reach.chosen(tries), reach.chosen(tries, costs.read()[reach.PLAIN].flops)
    means = 100 * tries.set_index("run")["mean"]
    earlier = table["family"].eq(reach.EARLIER).sum()
    lines, shown = [], []
    for run, second in dict.fromkeys([(chosen, reach.PLAIN), (as_committed, reach.PLAIN), (chosen, "opensmile")]):
        part = claims.Part("steps", "", claims.Kind.GAIN, ((run, second),))
        rows = table[table["family"].eq("steps") & table["measure"].eq(measure)]
        rows = rows[rows["first"].eq(run) & rows["second"].eq(second)]
        finding = claims.finding(part, rows)
        how = "as committed" if run == as_committed else "once its limit of FLOPs was widened"
        against = f"chosen by the rule {how} (UA {means[run]:.1f} on the actors for choosing)"
        if second != reach.PLAIN:
            against = f"minus {text.display_name(second)}"
        elif finding == claims.Finding.SUPPORTED:
            shown.append(text.added(run))
        label = f": **{finding}**" * (second == reach.PLAIN)
        lines.append(f"- {text.added(run)}, {against}{label}. {text.sentence(part, rows, evidence.orders, finding)}")
    tried = f"{len(tries) - 1} additions were tried by one rule, {earlier} in an earlier search. Of the chosen ones, "
    return f"{tried}{' and '.join(shown) or 'none'} is shown to raise {measure} on new speakers.\n\n" + "\n".join(lines)
