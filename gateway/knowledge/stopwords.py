"""Words that people put around a question, whatever it is about, by language.

Articles seldom say "I", "my" or "please", so BM25 would take them for rare words that matter. Words that are telling in
some field are left in. Languages without a list here do without one.
"""

from __future__ import annotations

STOPWORDS: dict[str, frozenset[str]] = {
    "english": frozenset(
        """
        a about after again all also always am an and any anybody anyone anything are as at
        be because been before being both but by
        can could
        did do does doing dont doesnt
        each else even ever every
        few for from
        gave get gets getting give go goes going gone got
        had has have having he her hers him his how
        i if im in into is isnt it its ive
        just
        know
        let like likely ll
        made make makes many may maybe me might mine more most much must my myself
        need needs no nor not now
        of off often oh ok on once one only or other others our ours out over own
        please put
        re really
        said same saw say says see seem she should since so some somebody someone something still such
        take tell tells than that thats the their theirs them then there these they thing things think this those
        though through to told too
        under until up us use used uses usually
        ve very
        want wants was way we well went were what whats when where whether which while who whom whose why will with
        without would
        yes yet you your yours
        """.split()  # noqa: SIM905 - quoted words are not for reading
    ),
}
