"""Nearly the same texts: all pairs are found, and no others."""

from __future__ import annotations

import random
from itertools import combinations

from gateway.forge import near
from gateway.forge.near import Texts

WORDS = (
    "card payment transfer refund fee account money bank cash machine limit top up exchange rate pin phone "
    "abroad declined pending twice wrong missing late help please today"
)


def asked(count: int, seed: int) -> list[str]:
    """Half of them made up, and of each another one with a word more, fewer or swapped."""
    chance, known, found = random.Random(seed), WORDS.split(), []
    for _ in range(count // 2):
        words = chance.choices(known, k=chance.randint(6, 16))
        changed = words.copy()
        changed[chance.randrange(len(words))] = chance.choice(known)
        found += [" ".join(words), " ".join(changed[: chance.randint(len(words) - 1, len(words))])]
    return found


def test_all_pairs_are_those_of_a_comparison_of_all() -> None:
    """Of a few hundred, at most one may be missed by chance: a band in common has 99.98 %."""
    texts = asked(600, 3)
    runs = [near._runs(text) for text in texts]
    numbers = combinations(range(len(texts)), 2)
    true = {(one, other) for one, other in numbers if near._alike(runs[one], runs[other]) >= near.ALIKE}
    found = set(near.pairs(texts))
    assert len(true) > 100
    assert found <= true
    assert len(true - found) <= 1


def test_hash_functions_order_runs_differently() -> None:
    """With functions that agree on what is least, more bands would find no more pairs."""
    runs = near._runs("which of my cards was declined abroad today, and why")
    each = [near._runs(f"{extra} which of my cards was declined") for extra in ("", "please", "help")]
    assert len({int(one) for one in near._least(runs)}) == near.BANDS * near.ROWS
    shares = [(near._least(runs) == near._least(other)).mean() for other in each]
    exact = [near._alike(runs, other) for other in each]
    assert all(abs(share - true) < 0.2 for share, true in zip(shares, exact, strict=True))


def test_of_no_texts_there_is_no_pair() -> None:
    assert list(near.pairs([])) == []
    assert list(near.pairs(["one"])) == []


def test_one_by_one_finds_no_others() -> None:
    texts = asked(200, 5)
    kept = Texts()
    doubled = {number for number, text in enumerate(texts) if kept.add(text) is not None}
    assert doubled <= {other for _, other in near.pairs(texts)}
