"""Networks that others use for speech emotion: their floating-point operations, by the conventions of serlib.flops."""

from dataclasses import dataclass
from functools import cache

import torch
from einops.layers.torch import Rearrange
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Other:
    """The operations of a network of other authors for ``seconds`` of sound, or for one picture (None)."""

    flops: int
    seconds: float | None


@cache
def reference_networks() -> dict[str, Other]:
    """Networks that others use for speech emotion, counted with random weights.

    Pictures are 128 x 128 in three channels. Sound is three seconds at 16 kHz; AST takes 298 frames of it, and Whisper
    always takes thirty seconds. PyTorch's meta device needs no memory or arithmetic, so that the largest count takes a
    second. AST (Gong et al. 2021) and Whisper's encoder (Radford et al. 2022) are built here from published sizes.
    """
    import torchaudio
    import torchvision

    def transformer(tokens: int, depth: int, heads: int, width: int) -> nn.Module:
        return torchvision.models.vision_transformer.Encoder(tokens, depth, heads, width, 4 * width, 0.0, 0.0)

    def ast() -> nn.Module:
        patches = nn.Conv2d(1, 768, 16, stride=10), nn.Flatten(2), nn.ZeroPad1d((2, 0))  # two further tokens
        return nn.Sequential(*patches, Rearrange("b w t -> b t w"), transformer(12 * 29 + 2, 12, 12, 768))

    def whisper() -> nn.Module:
        frames = nn.Conv1d(128, 1280, 3, padding=1), nn.Conv1d(1280, 1280, 3, stride=2, padding=1)
        return nn.Sequential(*frames, Rearrange("b w t -> b t w"), transformer(1500, 32, 20, 1280))

    picture, sound = (1, 3, 128, 128), (1, 3 * 16_000)
    networks = {
        "ResNet-18": (torchvision.models.resnet18, picture, None),
        "ResNet-50": (torchvision.models.resnet50, picture, None),
        "ViT-B/16": (lambda: torchvision.models.vit_b_16(image_size=128), picture, None),
        "wav2vec 2.0 base": (torchaudio.models.wav2vec2_base, sound, 3.0),
        "HuBERT base": (torchaudio.models.hubert_base, sound, 3.0),
        "WavLM base": (torchaudio.models.wavlm_base, sound, 3.0),
        "AST": (ast, (1, 1, 128, 298), 3.0),
        "wav2vec 2.0 large": (torchaudio.models.wav2vec2_large, sound, 3.0),
        "HuBERT large": (torchaudio.models.hubert_large, sound, 3.0),
        "WavLM large": (torchaudio.models.wavlm_large, sound, 3.0),
        "Whisper large v3, encoder": (whisper, (1, 128, 3000), 30.0),
    }
    counts = {}
    for name, (build, shape, seconds) in networks.items():
        with torch.device("meta"):
            network, inputs = build().eval(), torch.zeros(shape)
        # attention as the matrix products that it is: the counter does not know every fused kernel
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(inputs)
        counts[name] = Other(counter.get_total_flops(), seconds)
    return counts
