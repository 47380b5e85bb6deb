# The whole companion as one graph: corpus -> images -> runs -> notebooks -> book.
#
#   snakemake --workflow-profile workflow/profiles/default              the book on synthetic speech
#   ... --config corpus=emodb data=path/to/emodb                        the book on recordings
#
# Each step reads the modules that it imports, so that a change is followed by what depends on it and nothing else: no
# step of serlib depends on companion, so a change of wording trains nothing. What a step reads of the checkout is a
# digest among its parameters; only what other steps make is its input. So contents decide, and no times.

import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from companion import experiments
from serlib import config as serlib_config, records
from serlib.files import below
from studies import variants
from workflow.graph import NAME, check_page, code, digest, guard, listing, settings, stop

PYTHON = sys.executable
CHOSEN = settings(config)
CORPUS, DATA, SEED = CHOSEN.corpus, CHOSEN.data, CHOSEN.seed
SPEECH = "recordings" if CORPUS else "synthetic"
SCHEDULE = CHOSEN.schedule or ("short" if CORPUS else "synthetic")
SHAPE = serlib_config.Features(channel=CHOSEN.channel).images

if workflow.is_main_process and not workflow.dryrun:
    guard()
# What a step writes goes into its log, and is shown as well unless make is asked for one line (V is then empty or 0).
shell.prefix('set -euo pipefail; keep() {{ if test "${{V-1}}" = 1; then tee "$1"; else cat > "$1"; fi; }}; ')

wildcard_constraints:
    speech="recordings|synthetic",
    corpus=NAME,
    image=f"{serlib_config.Features.mel_bands}x\\d+(?:-channel\\d+)?",  # height and width in pixels, the channel
    schedule=NAME,
    split="[a-z-]+-\\d+",
    run="[a-z0-9.+-]+?",
    seed="\\d+",


def run(name, corpus=None, split="random-0"):
    """The record of one run of this build."""
    protocol, _, fold = split.rpartition("-")
    return "build/runs/" + records.location(SPEECH, corpus or SHOWN, SCHEDULE, protocol, fold, name, SEED, SHAPE)


SHOWN = CORPUS or "emodb"  # the corpus of this build
CORE = ("teacher", "student-alone", "student-pooled")
TABLE = f"build/{SPEECH}/{SHOWN}/corpus.json"
IMAGES = [f"build/{SPEECH}/{SHOWN}/images"]
COMMITTED = [str(path) for suffix in (".json", ".csv") for path in below("results", suffix)]
EVIDENCE = "build/evidence/made_from.txt"
BENCHMARKS = list(map(str, below("benchmarks", ".json")))
# No finding rests on synthetic runs: of them only what a page shows. Of recordings also the other feature map and patches.
ALL_RUNS = [run(name) for name in (*CORE, *(("student-tokens", "teacher-square-patches") if CORPUS else ()))]
PROBES = [run(name).replace("runs", "probes", 1) for name in (CORE if CORPUS else CORE[-1:])]

ONE_CORPUS = {"corpus": SHOWN, "speech": SPEECH, "schedule": SCHEDULE, "training_seed": SEED}
# Figures of single utterances show committed examples of people's recordings and wait for no run, or the corpus named.
SHOW = ONE_CORPUS if CORPUS else {}
EXAMPLES = list(map(str, below("results/figures", ".npz")))
WEIGHTS = list(map(str, below("weights", ".safetensors")))


def shown(*names):
    """What a figure of single utterances reads."""
    return [*(run(name) for name in names if CORPUS), *(IMAGES if CORPUS else ()), *EXAMPLES, *WEIGHTS, EVIDENCE]


# Each notebook: the parameters that this build gives it, and what it reads.
NOTEBOOKS = {
    "fig1_process": (SHOW, shown("teacher", "student-pooled")),
    "fig2_stem": (SHOW, shown("teacher")),
    "fig3_coordinates": (SHOW, shown("teacher")),
    "fig4_teacher": ({}, []),
    "fig5_student": ({}, []),
    "attention_maps": (SHOW, shown("teacher", "teacher-square-patches")),
    "confusion": ({"corpus": SHOWN}, [EVIDENCE]),
    "accuracy": ({}, [EVIDENCE]),
    "flops_vs_accuracy": ({}, [EVIDENCE] + BENCHMARKS),
    "audit_granularity": ({}, [EVIDENCE]),
    "position": (SHOW, shown(*CORE)),
    "this_build": (ONE_CORPUS, ALL_RUNS + PROBES + [TABLE]),
    "evidence": ({}, [EVIDENCE]),
    "beyond": ({}, [EVIDENCE]),
}
for name, (given, _) in NOTEBOOKS.items():
    check_page(f"notebooks/{name}.ipynb", given)
STAGED = expand("build/book/notebooks/{name}.ipynb", name=NOTEBOOKS)
PROSE = [str(path) for part in ("book", "docs") for path in below(part, "") if path.is_file() and "__pycache__" not in path.parts]


rule book: # and what it was made of, so that what is deleted is made again
    input: "_build/html/index.html", "_build/html/data/croissant.json", STAGED, ALL_RUNS, PROBES, [f"{run[:-4]}safetensors" for run in ALL_RUNS]


rule runs:
    input: ALL_RUNS, PROBES, IMAGES, TABLE


rule synthesize:
    message: "synthetic speech: {wildcards.corpus}"
    output: "build/synthetic/{corpus}/corpus.json"
    log: "build/logs/synthetic-{corpus}.log"
    params:
        audio=lambda w: f"build/synthetic/{w.corpus}/audio",
        read=digest(code("workflow/synthetic.py", "serlib/data/corpora.py")),
    shell:
        "rm -rf {params.audio:q} && {{ {PYTHON:q} -m workflow.synthetic {wildcards.corpus:q} --data {params.audio:q} && "
        "{PYTHON:q} -m serlib corpora {wildcards.corpus:q} --data {params.audio:q} --synthetic --table {output:q}; }} "
        "2>&1 | keep {log:q}"


rule check:
    message: "checking the recordings: {wildcards.corpus}"
    output: "build/recordings/{corpus}/corpus.json"
    log: "build/logs/recordings-{corpus}.log"
    params: # functions, because Snakemake fills in braces in texts
        data=lambda _: DATA,
        folder=lambda _: str((Path(DATA).parent if Path(DATA).is_file() else Path(DATA)).resolve()),
        listing=lambda _: listing(DATA),
        channel=CHOSEN.channel,
        read=digest(code("serlib/data/corpora.py")),
    shell:
        "ln -sfn {params.folder:q} build/recordings/{wildcards.corpus:q}/audio && "
        "{PYTHON:q} -m serlib corpora {wildcards.corpus:q} --data={params.data:q} --channel {params.channel} "
        "--table {output:q} 2>&1 | keep {log:q}"


def recordings(w):
    """What every command on a corpus is given."""
    where = f"build/{w.speech}/{w.corpus}"
    synthetic = ["--synthetic"] if w.speech == "synthetic" else []
    return [w.corpus, "--data", f"{where}/audio", "--table", f"{where}/corpus.json", *synthetic]


def cell(w):
    """Which run, of which split, on which images."""
    protocol, _, fold = w.split.rpartition("-")
    width = w.image.partition("x")[2].partition("-")[0]  # the table knows the channel
    return ["--run", w.run, "--protocol", protocol, "--fold", fold, "--seed", w.seed, "--image-width", width]


rule images:
    message: "log-Mel images: {wildcards.corpus}"
    input: table="build/{speech}/{corpus}/corpus.json"
    output: "build/{speech}/{corpus}/images" # what they were made from
    log: "build/logs/{speech}-{corpus}-images.log"
    params: corpus=recordings, read=digest(code("serlib/data/features.py"))
    shell:
        "{PYTHON:q} -m serlib features {params.corpus:q} 2>&1 | keep {log:q} && "
        "{{ cat {input.table:q} && echo {params.read}; }} > {output:q}"


def teacher(wildcards):
    """The record of the run that this run follows, if it follows one."""
    if wildcards.run not in (*serlib_config.RUNS, *variants.VARIANTS):
        stop(f"run {wildcards.run!r} is none of {', '.join((*serlib_config.RUNS, *variants.VARIANTS))}")
    where = "build/runs/{speech}/{corpus}/{image}/{schedule}/{split}".format(**wildcards)
    named = serlib_config.RUNS.get(wildcards.run)
    return [f"{where}/{named.teacher}-seed{wildcards.seed}.json"] if named and named.teacher else []


def package(wildcards):
    """The package whose commands know the run."""
    return "serlib" if wildcards.run in serlib_config.RUNS else "studies"


def variant_code(wildcards):
    """The code that the training of a variant depends on as well."""
    return [] if wildcards.run in serlib_config.RUNS else code("studies/frontends.py", "studies/speaker_norm.py")


rule train:
    message: "training {wildcards.run}: {wildcards.corpus} ({wildcards.speech}), {wildcards.split}, seed {wildcards.seed}"
    input:
        teacher,
        table="build/{speech}/{corpus}/corpus.json",
        images="build/{speech}/{corpus}/images",
    output:
        "build/runs/{speech}/{corpus}/{image}/{schedule}/{split}/{run}-seed{seed}.json",
        "build/runs/{speech}/{corpus}/{image}/{schedule}/{split}/{run}-seed{seed}.safetensors",
    wildcard_constraints: schedule=f"(?!{variants.BASELINE}/)[^/]+"  # the rule below makes the baselines
    log: "build/logs/{speech}-{corpus}-{image}-{schedule}-{split}-{run}-seed{seed}.log"
    params:
        corpus=recordings,
        cell=cell,
        package=package,
        read=lambda w: digest(code("serlib/training.py", "serlib/data/splits.py", "serlib/records.py") + variant_code(w)),
    threads: CHOSEN.threads
    shell:
        "{PYTHON:q} -m {params.package} train {params.corpus:q} {params.cell:q} --schedule {wildcards.schedule:q} --threads {threads} "
        "2>&1 | keep {log:q}"


rule baseline:
    message: "baseline {wildcards.run}: {wildcards.corpus} ({wildcards.speech}), {wildcards.split}"
    input:
        table="build/{speech}/{corpus}/corpus.json",
        images="build/{speech}/{corpus}/images",
    output: "build/runs/{speech}/{corpus}/{image}/" + variants.BASELINE + "/{split}/{run}-seed{seed}.json"
    log: "build/logs/{speech}-{corpus}-{image}-" + variants.BASELINE + "-{split}-{run}-seed{seed}.log"
    params:
        corpus=recordings,
        cell=cell,
        read=digest(code("studies/baselines.py", "serlib/data/splits.py", "serlib/records.py")),
    shell: "{PYTHON:q} -m studies train {params.corpus:q} {params.cell:q} --threads 1 2>&1 | keep {log:q}"


rule probe:
    message: "probing {wildcards.run}: {wildcards.corpus} ({wildcards.speech}), {wildcards.split}"
    input:
        record="build/runs/{speech}/{corpus}/{image}/{schedule}/{split}/{run}-seed{seed}.json",
        table="build/{speech}/{corpus}/corpus.json",
        images="build/{speech}/{corpus}/images",
    output: "build/probes/{speech}/{corpus}/{image}/{schedule}/{split}/{run}-seed{seed}.json"
    log: "build/logs/probe-{speech}-{corpus}-{image}-{schedule}-{split}-{run}-seed{seed}.log"
    params: corpus=recordings, read=digest(code("studies/probes.py"))
    shell: "{PYTHON:q} -m studies probe {params.corpus:q} --runs {input.record:q} 2>&1 | keep {log:q}"


def lacking(folder, results, places):
    """What has to be made below `folder`, because no record of it is committed in `results`."""
    return [f"{folder}/{place}" for place in places if not Path(results, place).exists()]


# The evidence, a rule for each experiment: evidence_1 is worth most. `make evidence` asks for one after the other.
for number, experiment in enumerate(experiments.experiments_of(CORPUS) if CORPUS else [], 1):
    rule:
        name: f"evidence_{number}"
        message: f"evidence, {CORPUS}: {experiment.title}"
        input:
            lacking("build/runs", "results", experiment.places(CORPUS, SHAPE)),
            lacking("build/probes", "results/probes", experiment.places(CORPUS, SHAPE, experiment.probed)),


rule evidence:
    message: "the evidence: what the committed records say"
    output: EVIDENCE
    log: "build/logs/evidence.log"
    params: read=digest([*COMMITTED, *code("companion/evidence.py"), *map(str, below("companion", ".csv")), *map(str, below("companion", ".toml"))])
    shell: "{PYTHON:q} -m companion.evidence 2>&1 | keep {log:q}"


def made(name):
    """What a notebook reads of what other steps make."""
    return [file for file in NOTEBOOKS[name][1] if file.startswith("build/")]


def read_by(name):
    source = f"notebooks/{name}.ipynb"
    return digest([source, *code(source, "workflow/execute.py"), *(set(NOTEBOOKS[name][1]) - set(made(name)))])


rule notebook:
    message: "notebook {wildcards.name}"
    input: lambda w: made(w.name)
    output: "build/book/notebooks/{name}.ipynb"
    log: "build/logs/notebook-{name}.log"
    params:
        given=lambda w: [f"{name}={value!r}" for name, value in NOTEBOOKS[w.name][0].items()],
        read=lambda w: read_by(w.name),
    shell: "{PYTHON:q} -m workflow.execute notebooks/{wildcards.name:q}.ipynb {output:q} {params.given:q} 2>&1 | keep {log:q}"


rule try_it:
    message: "the networks of the page that computes in the browser"
    output: directory("build/book/try")
    log: "build/logs/try-it.log"
    params: read=digest([*code("workflow/try_it.py"), *COMMITTED, *map(str, below("weights", "")), *map(str, below("workflow", ".tar.xz"))])
    shell: "{PYTHON:q} -m workflow.try_it {output:q} 2>&1 | keep {log:q}"


rule pages:
    message: "rendering the book"
    input: STAGED, ALL_RUNS, EVIDENCE, "build/book/try"
    output: "_build/html/index.html"
    log: "build/logs/pages.log"
    params: read=digest([*PROSE, *code("workflow/render.py"), "_config.yml", "CITATION.bib", "requirements.lock"])
    shell: "{PYTHON:q} -m workflow.render . build/book _build 2>&1 | keep {log:q}"


rule describe:
    message: "the table of predictions, described for machines"
    input: EVIDENCE
    output: "_build/html/data/croissant.json"
    log: "build/logs/describe.log"
    params: read=digest([*code("workflow/describe.py"), "CITATION.cff"])
    shell: "{PYTHON:q} -m workflow.describe _build/html/data 2>&1 | keep {log:q}"
