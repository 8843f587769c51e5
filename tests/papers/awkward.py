"""Papers that are hard to set: what sources really send, and what somebody could make them send."""

from __future__ import annotations

from papers.records import PaperRecord
from tests.papers.factories import record

LONG = "W" * 2000
HEBREW = "מימין לשמאל: שיטה חדשה ללמידה"
ENGLISH = "We show that the method works. It needs less of everything than those before it."

# Name -> what is not as usual.
AWKWARD: dict[str, dict[str, object]] = {
    "latex": {
        "title": (
            r"Sorting in $\mathcal{O}(n^2)$: \textbf{Na\"ive} 2$\times$ at 50\% of $\ell_{\infty}$"
        ),
        "abstract": (
            r"We prove $\frac{a+b}{c} \leq \sqrt{n}$ for ``small'' $x_{i}$ ($k$-NN), costs \$5, "
            r"see \url{https://example.org/a_b} and $\unknown{x}$. \method is 3times faster at "
            "360^circ.\n\nSecond paragraph."
        ),
        "authors": (r"Paul Erd\H{o}s", r"Alfr\'ed R\'enyi"),
    },
    "think": {
        "title": "<think> Let's reason </think> <script>alert(1)</script> {{7*7}} {% now %}",
        "abstract": "<img src=x onerror=alert(1)> & \"quotes\" 'and' ]]> --> </style> $1 C:\\new",
        "authors": ("<b>Bold</b>", "' onmouseover='alert(1)"),
    },
    "long_word": {
        "title": LONG,
        "abstract": LONG,
        "authors": (LONG[:300],),
        "organization": LONG[:200],
    },
    "dna": {
        "title": "GATTACA" * 60 + " and https://example.org/" + "path/" * 80,
        "abstract": "ACGT" * 700 + " https://example.org/" + "x" * 700,
    },
    "crowd": {"title": "A paper by very many", "authors": tuple(f"Author {n}" for n in range(664))},
    "bare": {"title": "Nothing but a title", "abstract": "", "authors": ()},
    "emoji": {
        "title": "👩\u200d🔬🏳\ufe0f\u200d🌈 Emoji 🤗 in a title 🦙🦙🦙",
        "abstract": "👨\u200d👩\u200d👧\u200d👦 " * 40 + ENGLISH,
    },
    "hebrew": {
        "title": HEBREW,
        "abstract": f"{HEBREW} (GPT-4, 2026). " * 6,
        "authors": ("עדה לאבלייס",),
    },
    "override": {
        "title": "Turned \u202eyb dedneppa\u2066 round",
        "abstract": "\u202e\u2067Everything after this is read from the right. " + ENGLISH,
        "authors": ("\u202eeM\u200b", "Ben\u2028Sample"),
    },
    "chinese": {
        "title": "大规模语言模型的稀疏注意力机制研究" * 4,
        "abstract": "我们提出了一种新方法，" * 60,
        "authors": ("王小明",),
    },
    "zalgo": {
        "title": "Z" + "\u0336\u0310\u0352" * 15 + "algo" + "\u0321" * 40 + " comes",
        "abstract": ENGLISH,
    },
}


def awkward_records() -> list[PaperRecord]:
    """One each, numbered from 1 in the order of AWKWARD; the first has most votes."""
    return [
        record(number, upvotes=100 - number, **{"abstract": ENGLISH, **fields})
        for number, fields in enumerate(AWKWARD.values(), start=1)
    ]
