"""Random geometries, valid and invalid, through every kernel, between guard zones.

``families.py`` draws the cases, ``guards.py`` watches the kernels' arrays, ``__main__.py`` runs cases in a process of its own
(a crash takes nothing else along, and the case is known), and ``test_fuzz.py`` judges what that process reports.
``python -m tests.fuzz --help`` searches longer than the tests do.
"""
