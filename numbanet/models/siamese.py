"""Networks that learn what is alike: one backbone, run on two, three or four images, whose embeddings a loss compares.

The branches share their weights because they are one and the same network. What is new in each paper is what it compares:

    network             inputs                               loss
    SiameseNetwork      two, of one kind or of two           cosine_embedding_loss (Bromley), contrastive_loss (Hadsell)
    TripletNetwork      anchor, positive, negative           triplet_margin_loss
    QuadrupletNetwork   the same and a second negative       quadruplet_loss

Afterwards ``embed`` gives the vectors: classes that were not there in training can be told apart by their distances.

References:
    Bromley, Guyon, LeCun, Sackinger, Shah 1993, Signature verification using a "Siamese" time delay neural network.
    Hadsell, Chopra, LeCun 2006, Dimensionality reduction by learning an invariant mapping.
    Schroff, Kalenichenko, Philbin 2015, FaceNet: a unified embedding for face recognition and clustering.
    Chen, Chen, Zhang, Huang 2017, Beyond triplet loss: a deep quadruplet network for person re-identification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbanet import devices, nn
from numbanet.functional import normalize as unit_vectors
from numbanet.functional import pairwise_distance
from numbanet.tensor import Tensor, wrap

__all__ = ["QuadrupletNetwork", "SiameseNetwork", "TripletNetwork", "semi_hard_triplets"]


class _Branches(nn.Module):
    """What the three have in common.

    Args:
        backbone: any network from images to vectors (N, D): a classifier whose last layer has D outputs, say.
        normalize: scale each vector to length 1, so that embeddings lie on a sphere (FaceNet does).
    """

    def __init__(self, backbone: nn.Module, normalize: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.normalize = normalize

    def embed(self, input: Tensor) -> Tensor:
        """The embeddings (N, D) of images (N, ...).

        Raises:
            ValueError: where the backbone gives something else than vectors.
        """
        vectors = self.backbone(input)
        if not isinstance(vectors, Tensor) or vectors.ndim != 2:
            got = f"shape {tuple(vectors.shape)}" if isinstance(vectors, Tensor) else type(vectors).__name__
            raise ValueError(
                f"{type(self).__name__}: the backbone must give vectors (N, D), got {got}; end it with nn.Flatten() or "
                "a Linear layer"
            )
        return unit_vectors(vectors) if self.normalize else vectors

    def extra_repr(self) -> str:
        return "normalize=True" if self.normalize else ""


class SiameseNetwork(_Branches):
    """Two images to two embeddings.

    Args:
        backbone: any network from images to vectors (N, D).
        normalize: scale each vector to length 1.
        distance: of two batches of embeddings, for :meth:`distance`.

    Shape:
        images (N, C, H, W), twice, give vectors (N, D), twice.

    Raises:
        ValueError: in forward, where the backbone gives no vectors.

    Example:
        >>> import numbanet
        >>> from numbanet.nn import functional as F
        >>> net = SiameseNetwork(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
        >>> left, right = net(numbanet.rand(5, 1, 4, 4), numbanet.rand(5, 1, 4, 4))
        >>> different = numbanet.tensor([0, 1, 1, 0, 1])
        >>> F.contrastive_loss(left, right, different).shape
        numbanet.Size([])
    """

    def __init__(
        self,
        backbone: nn.Module,
        normalize: bool = False,
        distance: Callable[[Tensor, Tensor], Tensor] = pairwise_distance,
    ) -> None:
        super().__init__(backbone, normalize)
        self._distance = distance

    def forward(self, input1: Tensor, input2: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed(input1), self.embed(input2)

    def distance(self, input1: Tensor, input2: Tensor) -> Tensor:
        """How different two batches of images are, image by image: shape (N,)."""
        return self._distance(*self(input1, input2))


class TripletNetwork(_Branches):
    """Anchor, positive (of the anchor's class) and negative (of another) to three embeddings.

    Args:
        backbone: any network from images to vectors (N, D).
        normalize: scale each vector to length 1, as FaceNet does.

    Shape:
        images (N, C, H, W), three times, give vectors (N, D), three times.
    """

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.embed(anchor), self.embed(positive), self.embed(negative)


class QuadrupletNetwork(_Branches):
    """Anchor, positive, negative, and ``other``, of a third class, to four embeddings.

    The paper's distance is learned as well; here, as in ``quadruplet_loss``, it is Euclid's.

    Args:
        backbone: any network from images to vectors (N, D).
        normalize: scale each vector to length 1.

    Shape:
        images (N, C, H, W), four times, give vectors (N, D), four times.
    """

    def forward(
        self, anchor: Tensor, positive: Tensor, negative: Tensor, other: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.embed(anchor), self.embed(positive), self.embed(negative), self.embed(other)


def semi_hard_triplets(embeddings: Any, labels: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Triplets from one batch, chosen by its own embeddings so that there is something to learn from each.

    Every two samples of a class are an anchor and a positive. Their negative is the nearest one that is farther away than the
    positive (a nearer one, early in training, makes all embeddings collapse); where all are nearer, the farthest.

    Args:
        embeddings: shape (N, D); no gradient goes through the choice.
        labels: classes, shape (N,).

    Returns:
        Three times int64 (T,), the numbers of anchors, positives and negatives: ``z[a], z[p], z[n]`` go to
        ``triplet_margin_loss``.

    Raises:
        ValueError: for other shapes, or where no class has two samples, or all samples are of one class.

    Reference: F. Schroff et al., "FaceNet" (2015), section 3.2.
    """
    vectors = devices.to_host(embeddings._array) if isinstance(embeddings, Tensor) else np.asarray(embeddings)
    classes = devices.to_host(labels._array) if isinstance(labels, Tensor) else np.asarray(labels)
    if vectors.ndim != 2 or classes.shape != vectors.shape[:1]:
        raise ValueError(
            f"semi_hard_triplets: expected embeddings (N, D) and labels (N,), got {vectors.shape} and {classes.shape}"
        )
    squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * (vectors.astype(np.float64) @ vectors.T)  # squared, (N, N)
    same = classes[:, None] == classes
    anchors, positives = np.nonzero(same & ~np.eye(len(classes), dtype=bool))
    if not len(anchors) or same.all():
        raise ValueError(
            f"semi_hard_triplets: no triplets in {len(classes)} samples of {len(np.unique(classes))} classes; it takes two "
            "classes, one of them with two samples"
        )
    others = ~same[anchors]  # (T, N)
    to_others = distances[anchors]
    farther = np.where(others & (to_others > distances[anchors, positives][:, None]), to_others, np.inf)
    farthest = np.where(others, to_others, -np.inf).argmax(axis=1)
    negatives = np.where(np.isfinite(farther).any(axis=1), farther.argmin(axis=1), farthest)
    usable = others.any(axis=1)
    device = embeddings.device if isinstance(embeddings, Tensor) else devices.Device("cpu")
    chosen = [wrap(devices.to_device(found[usable], device)) for found in (anchors, positives, negatives)]
    return chosen[0], chosen[1], chosen[2]
