"""Where a round of labels was bought: one container of one account, and never another.

    label/round-0/container.json     ref, mark and place, noted before a task is in it

A container carries a mark: the id of the lake that made it and a word for the attempt. One of
another lake is refused when a round is opened. Once noted, a round's container is asked for by its
ref, and must have the noted mark: so a connection that leads to another account, or a project that
was replaced, buys nothing and brings no foreign answers.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from winnow.batch import Batch
from winnow.errors import Fatal
from winnow.label.vendor import BatchTerms, LabelVendor
from winnow.stages.label.rounds import (
    CONTAINER,
    ROUNDS,
    SubmissionRecord,
    asked_in,
    batch_key,
    read_round,
    round_path,
    submissions,
    write_round,
)
from winnow.stored import reader


@dataclass(frozen=True, slots=True)
class Container:
    """A round's container: its ref and mark, and where it lies, for people.

    `mark` is None where a version before 0.3 bought the round, which left none.
    """

    ref: str
    mark: str | None
    place: str = ""


def open_container(batch: Batch, number: int, vendor: LabelVendor, terms: BatchTerms) -> str:
    """The ref of the round's container, which is found or made, and noted, before a task is sent.

    Raises:
        Fatal: Another lake made it; or the round's is not in this account.
    """
    if noted_container(batch, number) is None:
        attempt = replace(terms, mark=f"{terms.mark}/{uuid.uuid4().hex}")
        ref = vendor.open_batch(batch_key(batch, number), attempt)
        container = Container(ref, vendor.mark_of(ref), vendor.place)
        if (container.mark or "").split("/")[0] != terms.mark:
            raise Fatal(
                f"{vendor.name} at {container.place} holds {ref} for {batch_key(batch, number)}, "
                f"made by another lake than {batch.lake.uri}. Nothing was sent. Work in that lake; "
                "or rename the campaign, or the batch, to buy these labels again on purpose."
            )
        # A twin whose connection leads elsewhere may be first: then this one was opened in vain.
        write_round(batch, number, CONTAINER, container)
    return check_container(batch, number, vendor).ref


def check_container(batch: Batch, number: int, vendor: LabelVendor) -> Container:
    """The round's container, which is where the vendor's connection leads.

    Raises:
        Fatal: It is not; or nothing was noted.
    """
    noted = noted_container(batch, number)
    if noted is None:
        raise Fatal(f"Round {number} of batch {batch.key} was not opened; run submit_tasks first.")
    try:
        mark = vendor.mark_of(noted.ref)
    except Fatal as error:
        raise _elsewhere(batch, number, noted, vendor, str(error)) from error
    if mark != (noted.mark or ""):
        why = f"the {noted.ref} there is another purchase's"
        if noted.mark is None:
            path = f"{batch.lake.uri}/{round_path(batch, number, CONTAINER)}"
            why = f"{why}, unless {path} was lost, which says what is this one's; restore it then"
        raise _elsewhere(batch, number, noted, vendor, why)
    return noted


def bought(batch: Batch, vendor: LabelVendor) -> dict[int, SubmissionRecord]:
    """Every round that the vendor of people has, by its number, each where it was bought.

    Raises:
        Fatal: The vendor's connection leads elsewhere.
    """
    rounds = submissions(batch, ROUNDS)
    for number in rounds:
        check_container(batch, number, vendor)
    return rounds


def noted_container(batch: Batch, number: int) -> Container | None:
    """What is noted of the round's container; None before it was opened."""
    container = read_round(batch, number, CONTAINER, reader(Container))
    if container is not None:
        return container
    submission = submissions(batch, (number,)).get(number)
    return None if submission is None else Container(submission.ref, None)


def _elsewhere(batch: Batch, number: int, noted: Container, vendor: LabelVendor, why: str) -> Fatal:
    at = f" at {noted.place}" if noted.place else ""
    return Fatal(
        f"Round {number} of batch {batch.key} was bought in {noted.ref}{at}, and connection "
        f"{asked_in(batch, number).connection} leads to {vendor.place}: {why}. Nothing was sent or "
        "fetched. Let the connection lead back, or restore the container there."
    )
