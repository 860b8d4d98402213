"""Datasets, transforms and the loader."""

from numbanet.data import transforms
from numbanet.data.collate import default_collate, default_convert
from numbanet.data.dataset import Columns, ConcatDataset, Dataset, Subset, TensorDataset, random_split
from numbanet.data.fashion_mnist import MNIST, FashionMNIST, load_data_fashion_mnist, load_fashion_mnist_sample
from numbanet.data.idx import read_idx
from numbanet.data.loader import DataLoader, get_worker_info
from numbanet.data.sample_random import sample_generator
from numbanet.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler
from numbanet.data.shapes import SyntheticShapes, detection_collate

__all__ = [
    "MNIST",
    "BatchSampler",
    "Columns",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "FashionMNIST",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "SyntheticShapes",
    "TensorDataset",
    "default_collate",
    "default_convert",
    "detection_collate",
    "get_worker_info",
    "load_data_fashion_mnist",
    "load_fashion_mnist_sample",
    "random_split",
    "read_idx",
    "sample_generator",
    "transforms",
]
