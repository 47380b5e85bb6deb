"""Makes the synthetic speech on the book's page on the corpora: one sentence, spoken in each emotion.

``python -m workflow.spoken`` makes the images anew. They are committed, so that rendering the book needs no PyTorch.
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
    corpus_facts = CORPORA["emodb"]
    words, voice = next(iter(corpus_facts.texts.values())), list(corpus_facts.voices.values())[1]
    soundfile.write(path, synthesize(words, voice, PROSODY[emotion], 0), SAMPLE_RATE)


def images() -> dict[str, ndarray]:
    """Compute the content of :data:`IMAGES`: images of :func:`speak`, in the format of :func:`workflow.examples.save`."""
    from serlib.data import features

    settings, images = Features(), []
    with TemporaryDirectory() as folder:
        for emotion in PROSODY:
            path = Path(folder, f"{emotion}.wav")
            speak(emotion, path)
            images.append(features.image(features.read_audio(path, settings), settings).numpy().astype(np.float16))
    emotions = np.array(list(PROSODY))
    return {"true": emotions, "predicted": emotions, "images": np.stack(images)[:, None]}


if __name__ == "__main__":
    np.savez_compressed(IMAGES, **images())
