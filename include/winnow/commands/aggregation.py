"""Commands about votes: what the aggregations come to, beside crowd-kit's."""

from __future__ import annotations

import argparse

from winnow.bench import votes as votes_bench


def bench_votes(asked: argparse.Namespace) -> None:
    """Aggregations of votes, their accuracy and time beside crowd-kit's: votes.json and .html."""
    votes_bench.run(asked.data, asked.out, asked.seeds, asked.peer, print)
    print(f"Written: {asked.out / 'votes.html'}, votes.json")
