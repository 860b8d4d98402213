"""Datasets, transforms and the loader."""

from numbanet.data import transforms
from numbanet.data.catalogue import by_name, dataset_names
from numbanet.data.cifar import CIFAR10, CIFAR100
from numbanet.data.collate import default_collate, default_convert
from numbanet.data.dataset import Columns, ConcatDataset, Dataset, Subset, TensorDataset, random_split
from numbanet.data.fashion_mnist import FashionMNIST, load_data_fashion_mnist, load_fashion_mnist_sample
from numbanet.data.folder import DatasetFolder, ImageFolder
from numbanet.data.idx import read_idx
from numbanet.data.loader import DataLoader, get_worker_info
from numbanet.data.mnist import EMNIST, KMNIST, MNIST
from numbanet.data.sample_random import batch_generator, sample_generator
from numbanet.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from numbanet.data.shapes import SyntheticShapes, detection_collate

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "EMNIST",
    "KMNIST",
    "MNIST",
    "BatchSampler",
    "Columns",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DatasetFolder",
    "FashionMNIST",
    "ImageFolder",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "SyntheticShapes",
    "TensorDataset",
    "WeightedRandomSampler",
    "batch_generator",
    "by_name",
    "dataset_names",
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
