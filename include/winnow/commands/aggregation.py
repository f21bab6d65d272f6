"""Commands about labels: what aggregations come to, and what a large batch takes."""

from __future__ import annotations

import argparse

from winnow.bench import publish as publish_bench
from winnow.bench import votes as votes_bench


def bench_votes(asked: argparse.Namespace) -> None:
    """Aggregations of votes, their accuracy and time beside crowd-kit's: votes.json and .html."""
    votes_bench.run(asked.data, asked.out, asked.seeds, asked.peer, print)
    print(f"Written: {asked.out / 'votes.html'}, votes.json")


def bench_publish(asked: argparse.Namespace) -> None:
    """A large batch aggregated, validated and published, beside plain DuckDB: publish.json."""
    publish_bench.run(asked.annotations, asked.out, print)
