# One command each; see CONTRIBUTING.md.
PYTHON ?= python
PYTEST ?= $(PYTHON) -m pytest

.PHONY: help check lint types test sim ptx gpu bench asv ci clean

help:
	@echo "make check | lint | types | test | sim | ptx | gpu | bench | asv | ci | clean"

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
	$(PYTHON) -m numbanet doctor --cuda-assemble 8.0 9.0

# Tests, sanitizer and measurements on this machine's GPU; tables in gpu-report.md. Without make: the same line.
gpu:
	$(PYTHON) -m benchmarks.gpu_report gpu-report.md

bench:
	$(PYTHON) benchmarks/compare_torch.py

asv:
	$(PYTHON) -m asv machine --yes
	$(PYTHON) -m asv run --quick HEAD^!
	$(PYTHON) -m asv publish

ci:
	bash .ci/run

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
