"""The synthetic speech that the book's page on the corpora shows: one sentence, spoken in each emotion.

``python -m workflow.spoken`` makes the images anew; they are committed, so that rendering a book needs no PyTorch.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from numpy import ndarray

from companion import front
from serlib.config import Features
from serlib.data.facts import CORPORA
from workflow.synthetic import PROSODY, SAMPLE_RATE, synthesize

IMAGES = Path(__file__).with_name("spoken.npz")


def draw(book: Path) -> None:
    """Write the sounds into ``book/_static/speech`` and their images as ``book/figures/synthetic-emotions.svg``."""
    sounds = book / "_static/speech"
    sounds.mkdir(parents=True, exist_ok=True)
    for emotion in PROSODY:
        speak(emotion, sounds / f"{emotion}.wav")
    front.draw_emotions(IMAGES, book / "figures/synthetic-emotions")


def speak(emotion: str, path: Path) -> None:
    """Write EmoDB's first sentence as a sound file, in the second speaker's voice."""
    known = CORPORA["emodb"]
    words, voice = next(iter(known.texts.values())), list(known.voices.values())[1]
    soundfile.write(path, synthesize(words, voice, PROSODY[emotion], 0), SAMPLE_RATE)


def images() -> dict[str, ndarray]:
    """The content of :data:`IMAGES`, computed: the images of :func:`speak` as :func:`companion.examples.save` keeps them."""
    from serlib.data import features

    settings, made = Features(), []
    with TemporaryDirectory() as folder:
        for emotion in PROSODY:
            path = Path(folder, f"{emotion}.wav")
            speak(emotion, path)
            made.append(features.image(features.read_audio(path, settings), settings).numpy().astype(np.float16))
    emotions = np.array(list(PROSODY))
    return {"true": emotions, "predicted": emotions, "images": np.stack(made)[:, None]}


if __name__ == "__main__":
    np.savez_compressed(IMAGES, **images())
