"""numbanet: a CNN framework whose kernels are readable Python. The public names; see README.md and docs/architecture.md."""
