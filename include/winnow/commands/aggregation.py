"""Commands about labels: what aggregations come to, and what a large batch takes.

A bench is imported when it is asked for: every other command starts sooner.
"""

from __future__ import annotations

import argparse

from winnow.commands.say import say_text


def bench_votes(asked: argparse.Namespace) -> None:
    """Aggregations of votes, their accuracy and time beside crowd-kit's: votes.json and .html."""
    from winnow_bench import votes

    votes.run(asked.data, asked.out, asked.seeds, asked.peer, say_text)
    say_text(f"Written: {asked.out / 'votes.html'}, votes.json")


def bench_publish(asked: argparse.Namespace) -> None:
    """A large batch aggregated, validated and published, beside plain DuckDB: publish.json."""
    from winnow_bench import publish

    publish.run(asked.annotations, asked.out, say_text)
