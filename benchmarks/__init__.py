"""What is measured here runs as the product does: on one core (config/__init__.py)."""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
