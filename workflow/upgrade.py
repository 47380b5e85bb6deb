"""``python workflow/upgrade.py FOLDER``: run records and probes of version 1 below FOLDER as version 2, in their new places.

Every record is checked against its digest first. Names follow the field's terms, the image's size and the precision
stand in the path, and references to another record's result follow that record. FOLDER holds ``recordings`` and
``probes``; nothing is removed before everything is written.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from serlib import config
from serlib.files import atomic_write

PROTOCOLS = {
    "inner-speakers": "selection",
    "versions-apart": "augmented-leaky",
    "versions-together": "augmented-grouped",
}
RUNS = {"student-standardised": "student-per-band-norm"}
SCHEDULES = {
    "bfloat16": "paper",
    "watched": "logged",
    "average": "ema",
    "warp-average": "warp-ema",
    "stand-in": "synthetic",
}
TRAINING = {"average": "ema_decay", "watch": "log_test_accuracy"}
MODEL = {"standardise": "per_band_norm"}


def digest(plain: Any) -> str:
    """SHA-256 (hex) over JSON values, keys in order."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def renamed(fields: dict[str, Any], names: dict[str, str], defaults: Any) -> dict[str, Any]:
    """The fields under their new names, those that the file is too old to have at their defaults."""
    known = json.loads(json.dumps(config.plain(defaults)))
    return known | {names.get(name, name): value for name, value in fields.items()}


def upgraded(plain: dict[str, Any]) -> dict[str, Any]:
    """A record of version 1, without its digest, as one of version 2."""
    c = dict(plain["configuration"])
    c["training"] = renamed(c["training"], TRAINING, config.Training())
    c["features"] = renamed(c["features"], {}, config.Features())
    c["run"] = renamed(c["run"], {}, config.Run(None))
    if c["run"]["model"]:
        c["run"]["model"] = renamed(c["run"]["model"], MODEL, config.Model())
    c["name"] = RUNS.get(c["name"], c["name"])
    precise = "-bf16" if c["training"]["precision"] == "bf16-mixed" else ""
    c["schedule"] = SCHEDULES.get(c["schedule"], c["schedule"]) + precise
    curves = {
        stage: {name.replace("held-out accuracy", "test accuracy"): values for name, values in losses.items()}
        for stage, losses in plain["curves"].items()
    }
    kept = {name: value for name, value in plain.items() if name not in ("version", "made")}
    return kept | {
        "speech": "recordings" if plain["speech"] == "recordings" else "synthetic",
        "protocol": PROTOCOLS.get(plain["protocol"], plain["protocol"]),
        "configuration": c,
        "curves": curves,
        "provenance": plain["made"],
    }


def result(plain: dict[str, Any], place: str) -> str:
    """The digest by which others refer to a record."""
    return digest([{name: value for name, value in plain.items() if name != place}])


def checked(path: Path) -> dict[str, Any]:
    """What a file says, without its digest.

    Raises:
        ValueError: its digest is another.
    """
    plain = json.loads(path.read_text(encoding="utf-8"))
    said = plain.pop("digest")
    if said not in (digest(plain), digest([plain])):  # of a record, of a probe
        raise ValueError(f"{path}: changed since it was written")
    return plain


def main(folder: Path) -> None:
    old = {path: checked(path) for path in sorted((folder / "recordings").rglob("*.json"))}
    old = {path: plain for path, plain in old.items() if plain["version"] == 1}
    new = {path: upgraded({k: v for k, v in plain.items() if k != "version"}) for path, plain in old.items()}
    results: dict[str, str] = {}
    for path in sorted(new, key=lambda path: bool(new[path]["teacher"])):  # teachers first
        plain = new[path]
        plain["teacher"] = results.get(plain["teacher"], plain["teacher"])
        before = {k: v for k, v in old[path].items() if k != "version"}
        results[result(before, "made")] = result(plain, "provenance")
    written: dict[Path, str] = {}
    places = {}
    for path, plain in new.items():
        c = plain["configuration"]
        height, width = c["features"]["image_size"]
        place = f"{plain['corpus']}/{height}x{width}/{c['schedule']}/{plain['protocol']}-{plain['fold']}"
        target = f"{place}/{c['name']}-seed{c['training']['seed']}.json"
        if target in places.values():
            raise ValueError(f"{path}: another record has the place {target}")
        places[result({k: v for k, v in old[path].items() if k != "version"}, "made")] = target
        plain = {"version": 2, **plain}
        lines = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in {**plain, "digest": digest(plain)}.items())
        written[folder / "recordings" / target] = "{\n" + ",\n".join(lines) + "\n}\n"
    probes = sorted((folder / "probes").rglob("*.json"))
    for path in probes:
        plain = checked(path)
        if plain["result"] not in places:
            raise ValueError(f"{path}: probes a network whose record is not below {folder}")
        target = places[plain["result"]]
        plain |= {
            "result": results[plain["result"]],
            "schedule": target.split("/")[2],
            "protocol": PROTOCOLS.get(plain["protocol"], plain["protocol"]),
        }
        written[folder / "probes/recordings" / target] = json.dumps({**plain, "digest": digest([plain])}) + "\n"
    for path, text in written.items():
        with atomic_write(path) as beside:
            beside.write_text(text, encoding="utf-8")
    for path in {*old, *probes} - set(written):
        path.unlink()
    print(f"{len(old)} records and {len(probes)} probes carried over")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
