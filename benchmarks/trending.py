"""Measures the trending score against sorting by upvotes, on what Hugging Face's readers did.

    python -m benchmarks.trending --data ../shared/data

(a) After the first votes: days of December 2025 as they stood at about 08 UTC, against the order of
the month's page seven weeks later. AUC for "in the top 99" over all papers, and how many of a day's
settled best three are among its first three now; and the same as if the lists had been read
after a tenth of their time.
(b) Before any vote: from the papers alone the first votes of each day, July to December 2025. Mean
over days of Spearman's correlation and of nDCG@5 with the gain ln(1 + votes).

Every day is judged by what was known before it: names' history up to the day before, words' weights
fitted on days before its month. The weights between the parts are the program's constants, which
were fitted before (b) begins (`weights` and `prior` in the answer fit them again). Intervals of
95 % are by bootstrap over days, and so are those of differences to sorting by votes, or to the
whole in (b).
What is measured is `papers.trending` and `papers.forecast` themselves. Prints JSON.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln
from scipy.stats import rankdata
from tqdm import tqdm

from papers import forecast, trending
from papers.forecast import Group, History, Listing, TextPrior
from papers.sources.huggingface import HuggingFace
from papers.vectors import bag

SEED = 20261122
SETTLED_FROM, UNSEEN_FROM = date(2025, 12, 1), date(2025, 7, 1)
WEIGHED_FROM = date(2025, 3, 17)  # when listings began to bear the hour
FEWEST = 5  # papers of a day on which an order can be judged
RESAMPLED = 1000
THINNED = 5
BEST, CUT = 3, 5
ARCHIVE = "hf_daily/daily_papers_2024-05-27_2025-12-18.jsonl.gz"
SETTLED = "hf_daily/month_2025-12_settled_top.csv"

Floats = NDArray[np.float64]
Scores = Mapping[date, Floats]


@dataclass(frozen=True, slots=True)
class Day:
    """A list as it stood when it was read. hours: since each paper was listed; NaN: unknown."""

    day: date
    ids: tuple[str, ...]
    listings: tuple[Listing, ...]
    hours: Floats
    comments: Floats
    stars: Floats

    @property
    def votes(self) -> Floats:
        return np.array([each.votes for each in self.listings], float)


Scorer = Callable[[Day], Floats]


@dataclass(frozen=True, slots=True)
class Known:
    """A day's parts of what was expected, made of the days before it."""

    parts: forecast.Parts

    def lift(self, *, without: str = "") -> Floats:
        """As the program adds them up."""
        kept = self.parts
        if without == "text":
            kept = replace(kept, text=np.zeros_like(kept.text))
        elif without == "facts":
            kept = replace(kept, facts=np.zeros_like(kept.facts))
        elif without:
            kept = replace(kept, names={g: v for g, v in kept.names.items() if g != without})
        return kept.total - kept.total.mean()


def main() -> None:
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    found.add_argument("--data", type=Path, default=default, metavar="FOLDER", help="the data sets")
    folder = found.parse_args().data
    if not (folder / ARCHIVE).is_file():
        sys.exit(f"--data: there is no {folder / ARCHIVE}")
    print(json.dumps(measure(folder), indent=1))


def measure(folder: Path) -> dict[str, Any]:
    """Both tasks, every method with its interval. Reads `hf_daily` below the folder."""
    days = load(folder / ARCHIVE)
    known, places = walk(days), settled(folder / SETTLED)
    return {
        "seed": SEED,
        "weights": weights(days, known),
        "prior": prior(days, known),
        "after the first votes": after_votes(days, known, places),
        "after a tenth of them": after_a_tenth(days, known, places),
        "before any vote": before_votes(days, known),
    }


# -- what was known ------------------------------------------------------------------------


def walk(days: Sequence[Day]) -> dict[date, Known]:
    """For each day from WEIGHED_FROM on, what the days before it made one expect."""
    found: dict[date, Known] = {}
    text, fitted = forecast.NO_TEXT, ""
    asked = [each for each in days if each.day >= WEIGHED_FROM]
    for each in tqdm(asked, desc="days", unit="day", file=sys.stderr, leave=False):
        before = [listing for other in days if other.day < each.day for listing in other.listings]
        if fitted != (month := f"{each.day:%Y-%m}"):
            text, fitted = fit(before), month
        found[each.day] = Known(forecast.parts(each.listings, History.of(before), text))
    return found


def fit(listings: Sequence[Listing]) -> TextPrior:
    lifts = forecast.lifts(listings)
    kept = np.flatnonzero(~np.isnan(lifts)).tolist()
    return TextPrior.fit([listings[place].code for place in kept], lifts[kept])


def weights(days: Sequence[Day], known: Mapping[date, Known]) -> dict[str, float]:
    """The weights that least squares gives the parts on the days before UNSEEN_FROM, hours of
    listing taken into account; no organization was named then.
    """
    rows, targets = [], []
    for each in days:
        if WEIGHED_FROM <= each.day < UNSEEN_FROM and len(each.ids) >= FEWEST:
            parts = known[each.day].parts
            columns = [
                parts.text / forecast.TEXT_WEIGHT,
                *(parts.names[group] / forecast.GROUP_WEIGHT[group] for group in _HISTORIES),
                np.array([listing.has_code for listing in each.listings], float),
                np.array([listing.has_project for listing in each.listings], float),
                np.log([max(len(listing.authors), 1) for listing in each.listings]),
                np.log(exposures(each)),
            ]
            rows.append(np.stack([column - column.mean() for column in columns], axis=1))
            targets.append(np.log1p(each.votes) - np.log1p(each.votes).mean())
    solved = np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]
    names = ("text", *_HISTORIES, "code", "project", "team", "exposure")
    return {str(name): round(float(weight), 2) for name, weight in zip(names, solved, strict=True)}


def prior(days: Sequence[Day], known: Mapping[date, Known]) -> dict[str, float]:
    """By maximum likelihood on the same days: first votes as negative binomial, which is what a
    Gamma prior of that shape makes of Poisson votes, with mean `scale * exp(slope * lift) * hours
    ** power`.
    """
    asked = [each for each in days if WEIGHED_FROM <= each.day < UNSEEN_FROM]
    votes = np.concatenate([each.votes for each in asked])
    lift = np.concatenate([known[each.day].lift() for each in asked])
    hours = np.log(np.concatenate([np.maximum(each.hours, 0.5) for each in asked]))

    def unlikelihood(guess: Floats) -> float:
        scale, slope, power, shape = guess[0], guess[1], guess[2], np.exp(guess[3])
        mean = np.exp(scale + slope * lift + power * hours)
        terms = gammaln(votes + shape) - gammaln(shape) - (votes + shape) * np.log(shape + mean)
        return -float((terms + shape * np.log(shape) + votes * np.log(mean)).sum())

    found = minimize(unlikelihood, [1.0, 1.0, 1.0, 0.0], method="Nelder-Mead").x
    return {
        "shape": round(float(np.exp(found[3])), 2),
        "slope of the lift": round(float(found[1]), 2),
        "power of the hours": round(float(found[2]), 2),
    }


_HISTORIES = (Group.AUTHOR, Group.SUBMITTER)


def exposures(day: Day) -> Floats:
    """What each paper's hours make of its settled votes; of unknown hours, the day's mean."""
    hours = np.where(np.isnan(day.hours), np.nanmean(day.hours), day.hours)
    return np.array([trending.exposure(max(each, 0.5)) for each in hours])


# -- (a) -----------------------------------------------------------------------------------


def after_votes(
    days: Sequence[Day], known: Mapping[date, Known], places: Mapping[str, int]
) -> dict[str, Any]:
    """As the archive has it."""
    asked = [each for each in days if each.day >= SETTLED_FROM]
    rng = np.random.default_rng(SEED)
    methods: dict[str, Scorer] = {
        "random": lambda day: rng.random(len(day.ids)),
        "sort by upvotes": lambda day: day.votes,
        "comments": lambda day: day.comments,
        "upvotes, then stars": lambda day: day.votes + day.stars / 1e6,
        **_scorers(known),
        "ours without age": lambda day: ours(day, known[day.day].lift(), hours=6.0),
        "ours without doubt": lambda day: hoped(day, known[day.day].lift()),
    }
    for part in ("text", *Group, "facts"):
        methods[f"ours without {part}"] = partial(_without, known, part)
    return compare([asked], methods, places)


def after_a_tenth(
    days: Sequence[Day], known: Mapping[date, Known], places: Mapping[str, int]
) -> dict[str, Any]:
    """As if the same lists had been read after a tenth of their time: of the votes each stays with
    a chance of a tenth, which is how a Poisson process is thinned. Means over THINNED draws.
    """
    rng = np.random.default_rng(SEED)
    asked = [each for each in days if each.day >= SETTLED_FROM]
    copies = [[_thinned(each, rng) for each in asked] for _ in range(THINNED)]
    return compare(copies, {"sort by upvotes": lambda day: day.votes, **_scorers(known)}, places)


def _scorers(known: Mapping[date, Known]) -> dict[str, Scorer]:
    return {
        "before (one prior for all)": former,
        "ours": lambda day: ours(day, known[day.day].lift()),
        "ours without all that": lambda day: ours(day, np.zeros(len(day.ids))),
    }


def _without(known: Mapping[date, Known], part: str, day: Day) -> Floats:
    return ours(day, known[day.day].lift(without=part))


def _thinned(day: Day, rng: np.random.Generator) -> Day:
    left = rng.binomial([each.votes for each in day.listings], 0.1)
    listings = tuple(
        replace(each, votes=int(votes)) for each, votes in zip(day.listings, left, strict=True)
    )
    return replace(day, listings=listings, hours=day.hours / 10)


def compare(
    copies: Sequence[Sequence[Day]], methods: Mapping[str, Scorer], places: Mapping[str, int]
) -> dict[str, Any]:
    """copies: the same days, read in as many ways; means over these."""
    days = copies[0]
    best = [np.array([places.get(id, 0) for id in each.ids]) for each in days]
    three = [n for n, each in enumerate(best) if (each > 0).sum() >= BEST]
    scores = {
        name: [[scorer(day) for day in copy] for copy in copies] for name, scorer in methods.items()
    }
    drawn, drawn_three = resamples(len(days)), resamples(len(three))
    aucs = {name: _aucs(each, best, drawn) for name, each in scores.items()}
    hits = {name: _overlaps(each, best, three) for name, each in scores.items()}
    found: dict[str, Any] = {
        "days": len(days),
        "papers": sum(len(each.ids) for each in days),
        "days with three settled": len(three),
    }
    for name, each in scores.items():
        whole = float(_aucs(each, best, np.arange(len(days))[None])[0])
        top = hits[name][drawn_three].mean(axis=1)
        base = hits["sort by upvotes"][drawn_three].mean(axis=1)
        found[name] = {
            "auc": summary(whole, aucs[name]),
            "auc less upvotes'": interval(aucs[name] - aucs["sort by upvotes"]),
            "top 3": summary(hits[name].mean(), top),
            "top 3 less upvotes'": interval(top - base),
        }
    return found


def _aucs(
    copies: Sequence[Sequence[Floats]], best: Sequence[NDArray[Any]], drawn: NDArray[np.int64]
) -> Floats:
    """(drawn,): of all papers of the drawn days together."""
    return np.array(
        [
            np.mean(
                [
                    auc_of(
                        np.concatenate([scores[n] for n in some]),
                        np.concatenate([best[n] > 0 for n in some]),
                    )
                    for scores in copies
                ]
            )
            for some in drawn
        ]
    )


def _overlaps(
    copies: Sequence[Sequence[Floats]], best: Sequence[NDArray[Any]], three: Sequence[int]
) -> Floats:
    return np.array([np.mean([overlap(scores[n], best[n]) for scores in copies]) for n in three])


def ours(day: Day, lift: Floats, *, hours: float | None = None) -> Floats:
    """The program's score; with `hours`, as if all had been listed at once."""
    ages = day.hours if hours is None else np.full(len(day.ids), hours)
    return np.array(
        [
            trending.score(listing.votes, age, lift=each)
            for listing, age, each in zip(day.listings, ages, lift, strict=True)
        ]
    )


def hoped(day: Day, lift: Floats) -> Floats:
    """Expected settled votes, without regard to their doubt."""
    return np.array(
        [
            trending.outlook(listing.votes, age, lift=each).votes
            for listing, age, each in zip(day.listings, day.hours, lift, strict=True)
        ]
    )


def former(day: Day) -> Floats:
    """The score that this one took over from: the same prior for every paper."""
    shape = day.votes + 2.0
    rate = np.array([trending.exposure(each) for each in day.hours]) + 0.1
    bound = (shape - np.sqrt(shape)) / rate
    scores: Floats = bound / (bound + 20)
    return scores


def auc_of(scores: Floats, is_top: NDArray[np.bool_]) -> float:
    """Ties count half (Mann-Whitney)."""
    ranks = rankdata(scores)
    tops = int(is_top.sum())
    others = len(scores) - tops
    if not tops or not others:
        return float("nan")
    return float((ranks[is_top].sum() - tops * (tops + 1) / 2) / (tops * others))


def overlap(scores: Floats, places: NDArray[Any]) -> float:
    """The share of the day's settled best three among the first three; ties by chance."""
    order = np.lexsort((_chance(len(scores)), -scores))[:BEST]
    settled_first = [place for place in np.argsort(places) if places[place]][:BEST]
    return len(set(order.tolist()) & set(settled_first)) / BEST


# -- (b) -----------------------------------------------------------------------------------


def before_votes(days: Sequence[Day], known: Mapping[date, Known]) -> dict[str, Any]:
    asked = [
        each
        for each in days
        if each.day >= UNSEEN_FROM and len(each.ids) >= FEWEST and each.votes.any()
    ]
    rng = np.random.default_rng(SEED)
    methods: dict[str, Scores] = {
        "random": {each.day: rng.random(len(each.ids)) for each in asked},
        "before (one prior for all)": {each.day: np.zeros(len(each.ids)) for each in asked},
        "hour of listing alone": {each.day: exposures(each) for each in asked},
        "ours": {each.day: awaited(each, known[each.day].lift()) for each in asked},
        "ours without the hour": {each.day: known[each.day].lift() for each in asked},
    }
    for part in ("text", *Group, "facts"):
        methods[f"ours without {part}"] = {
            each.day: awaited(each, known[each.day].lift(without=part)) for each in asked
        }
    judged = {
        name: np.array([judge(scores[each.day], each.votes) for each in asked])
        for name, scores in methods.items()
    }
    drawn = resamples(len(asked))
    found: dict[str, Any] = {"days": len(asked), "papers": sum(len(each.ids) for each in asked)}
    for name, values in judged.items():
        lacks = values - judged["ours"]
        found[name] = {
            "spearman": summary(values[:, 0].mean(), values[drawn, 0].mean(axis=1)),
            "ndcg@5": summary(values[:, 1].mean(), values[drawn, 1].mean(axis=1)),
            "less ours": [
                interval(lacks[drawn, 0].mean(axis=1)), interval(lacks[drawn, 1].mean(axis=1))
            ],
        }  # fmt: skip
    return found


def awaited(day: Day, lift: Floats) -> Floats:
    """The votes that a paper should have by the time of the reading."""
    return exposures(day) * np.exp(lift)


def judge(scores: Floats, votes: Floats) -> tuple[float, float]:
    """(Spearman, nDCG@5); an order that says nothing has a correlation of 0."""
    a, b = rankdata(scores), rankdata(votes)
    says = np.ptp(a) > 0 and np.ptp(b) > 0
    correlation = float(np.corrcoef(a, b)[0, 1]) if says else 0.0
    gains = np.log1p(votes)
    discounts = 1 / np.log2(np.arange(2, CUT + 2))
    order = np.lexsort((_chance(len(scores)), -scores))[:CUT]
    best = np.sort(gains)[::-1][:CUT]
    return correlation, float((gains[order] * discounts).sum() / (best * discounts).sum())


# -- numbers -------------------------------------------------------------------------------


def resamples(size: int) -> NDArray[np.int64]:
    """(RESAMPLED, size): days drawn with replacement, the same for every method."""
    return np.random.default_rng(SEED).integers(0, size, (RESAMPLED, size))


def summary(value: float, drawn: Sequence[float] | Floats) -> dict[str, Any]:
    return {"value": round(float(value), 4), "95%": interval(drawn)}


def interval(drawn: Sequence[float] | Floats) -> list[float]:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return [round(float(low), 4), round(float(high), 4)]


def _chance(size: int) -> Floats:
    """The archive lists papers by votes, so that ties must not fall by its order."""
    return np.random.default_rng([SEED, size]).random(size)


# -- data ----------------------------------------------------------------------------------


def load(path: Path) -> list[Day]:
    """By the program's own reader; each paper on the first of its days."""
    seen: set[str] = set()
    found: dict[date, Day] = {}
    saved = HuggingFace({}).parse_file(gzip.decompress(path.read_bytes()))
    for each in tqdm(saved, desc="archive", unit="day", file=sys.stderr, leave=False):
        if each.day is None or each.read_at is None:
            continue
        records = [record for record in each.parsed.records if record.arxiv_id not in seen]
        seen.update(record.arxiv_id for record in records)
        if not records:
            continue
        listings = [
            Listing(
                each.day,
                record.authors,
                record.organization,
                record.submitter,
                bool(record.code_url),
                bool(record.project_url),
                bag(f"{record.title}\n{record.abstract}").to_bytes(),
                record.upvotes or 0,
            )
            for record in records
        ]
        ages = [
            (each.read_at - record.listed_at).total_seconds() / 3600
            if record.listed_at
            else float("nan")
            for record in records
        ]
        found[each.day] = Day(
            each.day,
            tuple(record.arxiv_id for record in records),
            tuple(listings),
            np.array(ages),
            np.array([record.comments or 0 for record in records], float),
            np.array([record.stars or 0 for record in records], float),
        )
    return [found[day] for day in sorted(found)]


def settled(path: Path) -> dict[str, int]:
    """arXiv id -> place on the month's page."""
    with path.open() as lines:
        return {row["arxiv_id"]: int(row["rank"]) for row in csv.DictReader(lines)}


if __name__ == "__main__":
    main()
