import os

# Numeric libraries start a thread per core for matrices far too small to share (a ranking step
# took 114 ms instead of 0.2). Whatever starts us imports this before it imports numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from .celery import app as celery_app

__all__ = ["celery_app"]
