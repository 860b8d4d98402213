"""Looking into networks and trainings: tables, graphs, receptive fields, and pictures of what a network sees.

``summary`` and ``graph`` describe a network. ``receptive_field`` computes what a layer can see, ``receptive_field_gradient``
measures what it does see. ``saliency``, ``occlusion_map`` and ``grad_cam`` ask which part of an image a decision comes from.
All functions whose names begin with ``plot_`` draw, with matplotlib: they return the figure, and write it where a path is
given.
"""

from numbanet.inspect.attribution import grad_cam, occlusion_map, receptive_field_gradient, saliency
from numbanet.inspect.curves import plot_curves
from numbanet.inspect.graph import Graph, graph
from numbanet.inspect.pictures import (
    plot_feature_maps,
    plot_filters,
    plot_grad_cam,
    plot_occlusion,
    plot_receptive_field,
    plot_saliency,
)
from numbanet.inspect.receptive_field import ReceptiveField, receptive_field
from numbanet.inspect.summary import Profile, Row, Summary, profile, summary
from numbanet.inspect.verdicts import plot_class_accuracy, plot_confusion_matrix, plot_misclassified

__all__ = [
    "Graph",
    "Profile",
    "ReceptiveField",
    "Row",
    "Summary",
    "grad_cam",
    "graph",
    "occlusion_map",
    "plot_class_accuracy",
    "plot_confusion_matrix",
    "plot_curves",
    "plot_feature_maps",
    "plot_filters",
    "plot_grad_cam",
    "plot_misclassified",
    "plot_occlusion",
    "plot_receptive_field",
    "plot_saliency",
    "profile",
    "receptive_field",
    "receptive_field_gradient",
    "saliency",
    "summary",
]
