"""Detection: a small SSD learns to put boxes around circles, squares and triangles that are drawn on the spot.

    python examples/ssd_shapes.py [--epochs 10] [--images 700] [--full] [--out runs/ssd_shapes.png]

Prints the mean average precision (a box counts from an IoU of 0.5 on) and draws test images with what was found.
"""

import argparse
from pathlib import Path

import numbanet
from numbanet import optim
from numbanet.data import DataLoader, SyntheticShapes, detection_collate
from numbanet.models import TinySSD
from numbanet.ops import nms
from numbanet.train import average_precisions

CLASSES = SyntheticShapes.classes  # background, circle, square, triangle

# Sides of the anchors in parts of the image's, map by map: the shapes' boxes have 0.2 to 0.56.
SIZES = ((0.18, 0.24), (0.30, 0.36), (0.42, 0.48), (0.54, 0.60), (0.66, 0.72))
RATIOS = ((1.0, 1.5, 0.67),) * 5


def predict(net, samples):
    net.eval()
    found = []
    for X, _ in DataLoader(samples, 50, collate_fn=detection_collate):
        found += net.detect(X)
    return found


def evaluate(net, samples):
    """Average precision of each class."""
    found = average_precisions(predict(net, samples), [target for _, target in samples])
    return {CLASSES[label]: value for label, value in found.items()}


def train(net, images, size, test_data, epochs, batch_size, lr):
    optimizer = optim.Adam(net.parameters(), lr=lr)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * -(-images // batch_size))
    for epoch in range(epochs):
        net.train()
        # New images every time: nothing can be learnt by heart.
        loader = DataLoader(SyntheticShapes(images, size, seed=1 + epoch), batch_size, collate_fn=detection_collate)
        sums = {"classification": 0.0, "bbox_regression": 0.0}
        for X, targets in loader:
            optimizer.zero_grad()
            losses = net.loss(X, targets)
            (losses["classification"] + losses["bbox_regression"]).backward()
            optimizer.step()
            schedule.step()
            for name, value in losses.items():
                sums[name] += value.item() / len(loader)
        precisions = evaluate(net, test_data)
        print(
            f"epoch {epoch + 1}: loss of classes {sums['classification']:.3f}, of boxes {sums['bbox_regression']:.3f}, "
            f"mAP {sum(precisions.values()) / len(precisions):.3f}"
        )
    print("average precision: " + ", ".join(f"{name} {value:.3f}" for name, value in precisions.items()))


def draw(net, samples, path, count=8, threshold=0.35):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    colours = ["", "#ffb000", "#2f9bff", "#ff5fc0"]
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, count // 2).flat
    samples = samples[:count]
    for axes, (image, target), found in zip(panels, samples, predict(net, samples), strict=True):
        size = image.shape[-1]
        axes.imshow(image.numpy().transpose(1, 2, 0), extent=(0, size, size, 0))
        for x1, y1, x2, y2 in target["boxes"].tolist():
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color="white", linestyle=":", linewidth=2))
        # One answer per place: the surest class.
        surest = [i for i in nms(found["boxes"], found["scores"], 0.5).tolist() if found["scores"][i] >= threshold]
        for i in surest:
            (x1, y1, x2, y2), label, score = (found[name][i].tolist() for name in ("boxes", "labels", "scores"))
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color=colours[label], linewidth=2))
            axes.text(
                x1, y1 - 1, f"{CLASSES[label]} {score:.2f}", fontsize=8, va="bottom" if y1 > 8 else "top",
                bbox={"facecolor": colours[label], "edgecolor": "none", "pad": 1},
            )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
    lines = [Line2D([], [], color="white", linestyle=":", linewidth=2, label="truth")]
    lines += [Line2D([], [], color=colours[i], linewidth=2, label=f"found: {CLASSES[i]}") for i in (1, 2, 3)]
    figure.suptitle(f"test images: true boxes, and those found with a probability of {threshold} at least")
    figure.legend(handles=lines, loc="outside lower center", ncols=4, facecolor="#808080", labelcolor="white")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"picture  {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=700, help="in an epoch")
    parser.add_argument("--size", type=int, default=96, help="of the images, in pixels")
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.004)
    parser.add_argument("--out", type=Path, default=Path("runs/ssd_shapes.png"))
    parser.add_argument("--full", action="store_true", help="30 epochs of 2,000 images")
    args = parser.parse_args()
    if args.full:
        args.images, args.epochs = 2000, 30

    numbanet.manual_seed(0)
    test_data = list(SyntheticShapes(max(args.images // 5, 20), args.size, seed=0))  # drawn once
    net = TinySSD(num_classes=3, sizes=SIZES, ratios=RATIOS)
    anchors = net(test_data[0][0].unsqueeze(0))[0].shape[1]
    print(
        f"{sum(p.numel() for p in net.parameters()):,} parameters, {anchors:,} anchors in {args.size} x {args.size} pixels"
    )
    train(net, args.images, args.size, test_data, args.epochs, args.batch_size, args.lr)
    try:
        draw(net, test_data, args.out)
    except ModuleNotFoundError:
        print("picture  none: pip install 'numbanet[plot]' to have it drawn")
