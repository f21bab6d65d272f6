"""A model as an annotator, on any OpenAI-compatible server.

client     the adapter: books, status, what is fetched
asking     puts the questions, many at once, each answer kept
prompt     a task as a question that its texts cannot change
verdict    what an answer says, and two orders together
books      what was asked and what came of it, in files that are written once
"""

from winnow.label.vendor import VendorKind

KIND = VendorKind(
    extra=("books",),
    note="**Some or all labels are the verdicts of a language model; where the column `model` of "
    "`annotations` is set, no human judged.**",
)
