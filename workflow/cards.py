"""``python -m workflow.cards``: writes the cards of the committed weights anew, after records were added.

:mod:`workflow.release` writes the first card of weights; what half precision changed is then known from it.
"""

import re
from pathlib import Path

import pandas as pd

from companion import evidence, results, text
from serlib import config, flops, metrics, records
from serlib.data import facts, splits
from serlib.files import atomic_write, sha256
from studies import frontends

ROOT = Path(__file__).parents[1]


def main(folder: Path = ROOT / "weights") -> None:
    """Write the card of each of the weights in ``folder``; SystemExit, and nothing written, if one lacks card or record."""
    by_result = {r.result: r for path in (ROOT / "results/recordings", folder) for r in records.read_all(path)}
    changed = {}
    for weights in sorted(folder.glob("*.safetensors")):
        path, result = weights.with_suffix(".md"), frontends.load(weights)[1]["result"]
        written = path.read_text(encoding="utf-8") if path.exists() else ""
        counted = re.search(r"\| ([\d,]+) of [\d,]+ test predictions", written)
        if not counted or result not in by_result:
            what = "committed record" if counted else "count of changed predictions in its card"
            raise SystemExit(f"serlib: {weights}: no {what}: `python -m workflow.release` writes both")
        changed[weights] = by_result[result], int(counted[1].replace(",", ""))
    predicted = evidence.read(ROOT).predictions
    noise = results.seed_noise(predicted)
    for weights, (record, count) in changed.items():
        with atomic_write(weights.with_suffix(".md")) as temporary:
            temporary.write_text(card(record, weights, count, predicted, noise), encoding="utf-8")


def card(record: records.Record, weights: Path, changed: int, committed: pd.DataFrame, noise: results.Noise) -> str:
    """The model card in Markdown.

    The numbers over the run's other folds and seeds come from ``committed``, the prediction rows of every committed
    record, and from their ``noise``. ``changed`` counts the test predictions that half precision changes.
    """
    images = record.configuration.features
    test, train = record.parts["test"], record.parts["train"]
    predicted, condition = results.predictions([record]), [*results.CONDITION, "run"]
    tested, trained = (predicted[predicted["part"] == part] for part in ("test", "train"))
    matching = results.test(committed).merge(predicted[condition].drop_duplicates(), on=condition)
    corpus_facts = facts.CORPORA.get(record.corpus)
    teacher = followed(record, weights.parent)
    teacher_name = f"[{teacher}]({teacher}.md)" if teacher else f"`{record.configuration.run.teacher}`"
    follows = f", following {teacher_name}" if record.teacher else ""
    notes = f" `weights/{teacher}.safetensors`, with its record, was the teacher." if teacher else ""
    if weights.with_suffix(".json").exists():
        committed_accuracy = results.accuracy(
            matching[matching["fold"].eq(record.fold) & matching["seed"].eq(record.seed)]
        )
        notes += (
            f" It was trained again, and its record is `{weights.stem}.json`: WA {text.percent(results.accuracy(tested))}. The "
            f"committed run, from the teacher in single precision, has {text.percent(committed_accuracy)}. So much do two runs differ on "
            f"{len(test.file)} utterances."
        )
    steps = f": {text.added(record.run)}" if "+" in record.run else ""
    command = (
        f"python -m {'serlib' if record.run in config.RUNS else 'studies'} train {record.corpus} --data data/{record.corpus} --run {record.run} --schedule "
        f"{record.schedule} --protocol {record.protocol} --fold {record.fold} --seed {record.seed} --threads 1"
    )
    held_out = splits.HELD_OUT[record.protocol]
    rows = [
        ("run", f"`{record.run}`{follows}{steps}"),
        (
            "corpus",
            f"{corpus_facts.title if corpus_facts else record.corpus}; {corpus_facts.terms if corpus_facts else 'terms: its own'}",
        ),
        ("emotions", ", ".join(record.emotions)),
        (
            "trained on",
            f"{len(train.file):,} utterances of {_speakers(train)}, {record.epochs} epochs a stage, seed {record.seed}, "
            f"precision {record.precision}",
        ),
        (
            "test set",
            f"{len(test.file):,} utterances of {_speakers(test)}: `{record.protocol}` {record.fold} ({held_out})",
        ),
        ("WA %, test set", text.percent(results.accuracy(tested))),
        ("UA %, test set", text.percent(results.accuracy(tested, "UA"))),
        ("WA %, training set", text.percent(results.accuracy(trained))),
        ("changed by half precision", f"{changed} of {len(test.file):,} test predictions"),
        (
            "parameters, FLOPs per image",
            "{0.parameters:,}, {0.flops:,}".format(flops.count(frontends.load(weights)[0])),
        ),
        (
            "record",
            f"result `{record.result[:12]}`, code `{record.provenance['commit'][:8]}`, {record.provenance['date']}",
        ),
        ("SHA-256", f"`{sha256(weights)}`"),
    ]
    run_rows = [("WA %", results.accuracy(matching, "WA", noise)), ("UA %", results.accuracy(matching, "UA", noise))]
    run_rows += [
        (
            f"recall %, {emotion}",
            results.accuracy(
                matching[matching["true"] == emotion], noise=results.seed_noise(committed[committed["true"] == emotion])
            ),
        )
        for emotion in record.emotions
    ]
    folds_and_seeds = ", ".join(f"{name}s {text.ranges(matching[name])}" for name in ("fold", "seed"))
    language = f"one language ({corpus_facts.language})" if corpus_facts else "one corpus's language"
    return (
        f"# {weights.stem}\n\n{text.table(('', ''), rows).data}\n\n"
        f"Made by `{command}`, halved by `workflow/release.py`.{notes} Brackets hold an interval ({100 * metrics.LEVEL:.0f} %), here over speakers, in the second table over seeds as well.\n\n"
        "WA (weighted accuracy) is plain accuracy, the fraction of utterances that are right. UA (unweighted accuracy) is "
        "mean recall.\n\n"
        f"What to expect of such a network: every committed record of the same run, schedule and protocol ({folds_and_seeds}). "
        f"{matching['utterance'].nunique():,} different test utterances of {matching['speaker'].nunique()} speakers "
        f"({held_out}).\n\n"
        f"{text.table(('', ''), [(name, text.percent(interval)) for name, interval in run_rows]).data}\n\n"
        f"Limits: {language}, acted speech. One channel at {images.sample_rate:,} Hz, the first "
        f"{images.seconds:g} s. Silence gets an answer too. Whether its probabilities are right as often as they say was "
        "not measured.\n\n"
        "Use: research on the paper's claims. The network names the emotion that actors of this corpus were asked to play. "
        "It says nothing about what a person feels, and it does not know speakers, languages or rooms other than the "
        "corpus's. It must not be used to judge people.\n"
    )


def followed(record: records.Record, folder: Path) -> str:
    """The name of the released teacher weights that a student followed.

    It is "" for a run without a teacher, or with a teacher that was not released.
    """
    released = {frontends.load(path)[1]["result"]: path.stem for path in folder.glob("*-teacher.safetensors")}
    return released.get(record.teacher, "")


def _speakers(part: records.Part) -> str:
    number = len(set(part.speaker))
    return f"{number} speaker{'s' * (number > 1)}"


if __name__ == "__main__":
    main()
