"""How well summaries taken from abstracts say what others said of the papers in one sentence.

    python -m benchmarks.summaries --data ../shared/data

Of papers that carry a one-sentence summary of the source (`ai_summary`), each method makes one of
the abstract. Both are compared by their words: ROUGE-1, -2 and -L (Lin, 2004: F1 over words in
lower case, without stemming) and ROUGE-1's recall; and by the cosine of the table of meanings that
ships. The weights of papers/summaries.py were fitted on the papers of every other day
(development); the others are held out. oracle: the two sentences that share most words with the
summary, which no method that takes two can beat by much. se: standard error of a mean over papers.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from papers import summaries
from papers.records import one_line
from papers.static_meaning import shipped

ARCHIVE = "hf_daily/daily_papers_2024-05-27_2025-12-18.jsonl.gz"
PARTS = ("development", "held-out")
LENGTH = summaries.SUMMARY_CHARACTERS
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Known:
    """A paper, and what the source's summary says of it."""

    day: str
    title: str
    abstract: str
    summary: str


Method = Callable[[Known], str]


def main() -> None:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    found.add_argument("--data", type=Path, default=default, metavar="DIR")
    found.add_argument("--part", choices=PARTS, default=PARTS[0])
    found.add_argument("--seed", type=int, default=20251218, help="of the random sentences")
    found.add_argument("--json", action="store_true", help="print JSON instead of a table")
    found.add_argument("--no-progress", action="store_true")
    arguments = found.parse_args()
    archive = arguments.data / ARCHIVE
    if not archive.is_file():
        sys.exit(f"{archive} is not there: name the data folder by --data DIR.")
    papers = part_of(list(read(archive)), arguments.part)
    measured = measure(papers, seed=arguments.seed, hidden=arguments.no_progress)
    report = {"part": arguments.part, "papers": len(papers), "methods": measured}
    sys.stdout.write((json.dumps(report, indent=1) if arguments.json else _table(report)) + "\n")


def read(archive: Path) -> Iterator[Known]:
    """The papers with a summary, each once, in the order of their days."""
    seen = set()
    with gzip.open(archive, "rt", encoding="utf-8") as lines:
        for line in lines:
            stored = json.loads(line)
            paper = stored["entry"]["paper"]
            if paper.get("ai_summary") and paper["id"] not in seen:
                seen.add(paper["id"])
                texts = (paper["title"], paper["summary"], paper["ai_summary"])
                yield Known(stored["date"], *map(one_line, texts))


def part_of(papers: Sequence[Known], part: str) -> list[Known]:
    days = sorted({paper.day for paper in papers})
    kept = set(days[PARTS.index(part) :: 2])
    return [paper for paper in papers if paper.day in kept]


def methods(seed: int) -> dict[str, Method]:
    rng = random.Random(seed)

    def drawn(paper: Known) -> str:
        texts = summaries.sentences(paper.abstract)
        return " ".join(rng.sample(texts, min(2, len(texts))))

    return {
        "first sentence": lambda paper: _first(paper, 1),
        "first two": lambda paper: _first(paper, 2),
        "first three": lambda paper: _first(paper, 3),
        "last two": lambda paper: " ".join(summaries.sentences(paper.abstract)[-2:]),
        "random two": drawn,
        "gist": lambda paper: summaries.gist(paper.title, paper.abstract),
        "oracle": _oracle,
    }


def measure(
    papers: Sequence[Known], *, seed: int, hidden: bool = True
) -> dict[str, dict[str, float]]:
    """Method -> mean of each measure over the papers, their standard errors, and the length."""
    model = shipped()
    theirs = model.encode([paper.summary for paper in papers])
    found = {}
    for name, method in tqdm(methods(seed).items(), unit="method", disable=hidden or None):
        texts = [method(paper) for paper in papers]
        cosines = (model.encode(texts) * theirs).sum(axis=1)
        rows = np.array(
            [
                (*_rouge(text, paper.summary), cosine, len(text))
                for text, paper, cosine in zip(texts, papers, cosines, strict=True)
            ]
        )
        found[name] = _means(rows)
    return found


def _means(rows: np.ndarray) -> dict[str, float]:
    names = ("rouge_1", "rouge_2", "rouge_l", "recall", "cosine", "characters")
    means = {name: round(float(mean), 4) for name, mean in zip(names, rows.mean(0), strict=True)}
    return means | {"se_rouge_1": round(float(rows[:, 0].std() / len(rows) ** 0.5), 4)}


def _first(paper: Known, most: int) -> str:
    """As many, as long as they are no longer than a summary may be."""
    text = ""
    for sentence in summaries.sentences(paper.abstract)[:most]:
        if text and len(text) + len(sentence) > LENGTH:
            break
        text = f"{text} {sentence}".strip()
    return text


def _oracle(paper: Known) -> str:
    wanted = _words(paper.summary)
    texts = summaries.sentences(paper.abstract)
    return " ".join(sorted(texts, key=lambda text: -_f1(_words(text), wanted, 1)[0])[:2])


def _rouge(text: str, wanted: str) -> tuple[float, float, float, float]:
    """F1 of ROUGE-1, -2 and -L, and the recall of ROUGE-1."""
    said, reference = _words(text), _words(wanted)
    one, recall = _f1(said, reference, 1)
    return one, _f1(said, reference, 2)[0], _longest(said, reference), recall


def _f1(said: Sequence[str], reference: Sequence[str], size: int) -> tuple[float, float]:
    ours, theirs = _grams(said, size), _grams(reference, size)
    shared = sum((ours & theirs).values())
    if not shared:
        return 0.0, 0.0
    precision, recall = shared / sum(ours.values()), shared / sum(theirs.values())
    return 2 * precision * recall / (precision + recall), recall


def _grams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + size]) for at in range(len(words) - size + 1))


def _longest(said: Sequence[str], reference: Sequence[str]) -> float:
    """By the longest common subsequence."""
    before = [0] * (len(reference) + 1)
    for word in said:
        now = [0]
        for place, other in enumerate(reference):
            now.append(before[place] + 1 if word == other else max(now[-1], before[place + 1]))
        before = now
    if not before[-1]:
        return 0.0
    precision, recall = before[-1] / len(said), before[-1] / len(reference)
    return 2 * precision * recall / (precision + recall)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _table(report: dict[str, Any]) -> str:
    lines = [
        f"{report['papers']} papers, {report['part']}; se of ROUGE-1 in brackets",
        "",
        "| method | ROUGE-1 | ROUGE-2 | ROUGE-L | recall | cosine | characters |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in report["methods"].items():
        lines.append(
            f"| {name} | {row['rouge_1']:.3f} ({row['se_rouge_1']:.3f}) | {row['rouge_2']:.3f} | "
            f"{row['rouge_l']:.3f} | {row['recall']:.3f} | {row['cosine']:.3f} | "
            f"{row['characters']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
