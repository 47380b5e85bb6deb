"""The training objectives, one pure function for each."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Stage (a), teacher: ``-log softmax(logits)[label]``, averaged over the batch. In nats. [A fig. 1]"""
    return functional.cross_entropy(logits, labels)


def matching(student: Float[Tensor, "*shape"], teacher: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Stage (b), feature map matching: ``mean |student - teacher|`` over every element (mean absolute error, L1).

    The feature map is the pooled vector (batch, width) or the token map (batch, patches, width). [A fig. 1]

    Raises:
        ValueError: the two differ in shape; PyTorch would broadcast (4, 1) against (4, 8) in silence.
    """
    if student.shape != teacher.shape:
        shapes = f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}"
        raise ValueError(f"feature maps differ in shape: {shapes}")
    return (student - teacher).abs().mean()


def transfer(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    student: Float[Tensor, "*shape"],
    teacher: Float[Tensor, "*shape"],
    alpha: float,
) -> Float[Tensor, ""]:
    """Stage (c), student: ``cross entropy + alpha * L1``. ``alpha`` is not stated in the material at hand. [A fig. 1]"""
    return cross_entropy(logits, labels) + alpha * matching(student, teacher)
