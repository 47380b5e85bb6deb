"""``python -m studies``: the commands of serlib on networks, for variants and other classifiers as well; and probes."""

import argparse
from pathlib import Path
from typing import Any

from serlib import cli, config
from serlib.errors import SerlibError
from studies import variants


class Networks(cli.Networks):
    """The networks of serlib, variants, and classifiers other than the paper's."""

    names = variants.NAMES
    resolve = staticmethod(variants.resolve)

    def build(self, run_config: config.RunConfig) -> Any:
        """The network of a run with drawn weights; None for a classifier that is no network."""
        from studies import frontends

        return frontends.of_run(run_config) if run_config.run.model else None

    def load(self, path: str | Path) -> tuple[Any, dict[str, Any]]:
        """As :func:`studies.frontends.load`."""
        from studies import frontends

        return frontends.load(path)

    def execute(self, run_config: Any, corpus: Any, split: Any, images: Any, *, cache: str | Path, **how: Any) -> Any:
        """One run, variant or baseline, to its record."""
        from serlib import training
        from studies import baselines, frontends, speaker_norm

        if run_config.run.model is None:
            del how["teacher"]
            return baselines.execute(run_config, corpus, split, images, cache=cache, **how)
        if variants.from_beyond(run_config.beyond).speaker_norm:
            images, how["complete"] = speaker_norm.prepare(run_config, corpus, split, images)
        return training.execute(run_config, corpus, split, images, network=lambda: frontends.of_run(run_config), **how)


STUDIES = Networks()


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    return cli.run(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser, command = cli.commands("studies", "What is asked of the method beyond the paper.")
    cli.network_commands(command, STUDIES)
    summary = "What trained networks know of time, on their test sets."
    sub = command("probe", _probe, summary, cli.corpus_options, cli.cache_option)
    sub.add_argument("--runs", nargs="+", type=Path, required=True, help="run records, their weights beside them")
    sub.add_argument("--out", type=Path, default=Path("build/probes"), help="folder of probes")
    return parser


def _probe(options: argparse.Namespace) -> None:
    from serlib import records
    from studies import probed, probes

    corpus = cli.load(options)
    rows = {utterance.key: i for i, utterance in enumerate(corpus.utterances)}
    for path in options.runs:
        record = records.read(path)
        if record.fingerprint != corpus.fingerprint:
            raise SerlibError(f"{path}: not a run on the recordings in {cli.data(options)}")
        settings = config.from_plain(config.Features, record.configuration.features)
        images = cli.make_images(options, corpus, settings)
        probe = probes.execute(record, cli.trained(STUDIES, path, record), images, rows)
        place = options.out / record.location
        probed.write(probe, place)
        bare, last = (probe.r2(layer) for layer in (probes.IMAGE, probe.last))
        print(f"{place}: R2 of the column's number {bare:.2f} from the image, {last:.2f} from the last layer")


if __name__ == "__main__":
    raise SystemExit(main())
