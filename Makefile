# One command each; see CONTRIBUTING.md.
PYTHON ?= python
PYTEST ?= $(PYTHON) -m pytest

.PHONY: help check lint types test sim ptx gpu cover bench asv ci clean

help:
	@echo "make check | lint | types | test | sim | ptx | gpu | cover | bench | asv | ci | clean"

check: lint types test

lint:
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTEST)

# CUDA kernels in Numba's simulator: no GPU needed, checks no types.
sim:
	NUMBA_ENABLE_CUDASIM=1 $(PYTEST) -m cuda

# Compile and assemble every CUDA kernel: no GPU needed, checks types and registers.
ptx:
	NUMBANET_CUDA_ASSEMBLE=1 $(PYTEST) -k "assemble or ptx"

gpu:
	$(PYTEST) -m cuda

# Coverage with Python in place of compiled kernels: slow, and no proof of numerics.
cover:
	NUMBA_DISABLE_JIT=1 NUMBA_ENABLE_CUDASIM=1 $(PYTHON) -m coverage run --source numbanet -m pytest
	$(PYTHON) -m coverage report

bench:
	$(PYTHON) benchmarks/compare_torch.py

asv:
	$(PYTHON) -m asv run --python=same --quick
	$(PYTHON) -m asv publish

ci:
	bash .ci/run

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
