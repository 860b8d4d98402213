"""``numbanet.utils.data``: the loader and datasets under the names PyTorch gives them."""

from numbanet.data.collate import default_collate, default_convert
from numbanet.data.dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from numbanet.data.loader import DataLoader, get_worker_info
from numbanet.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
]
