"""For layouts from right to left (papers.pseudo), until somebody offers Arabic itself."""

from config.formats.en.formats import *  # noqa: F403
