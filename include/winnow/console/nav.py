"""The pages by address: a page is a module of this package of that name. Imports nothing."""

from __future__ import annotations

NAV = {
    "batches": "Batches",
    "datasets": "Datasets",
    "spend": "Spend",
    "selector": "Selector",
}
"""Pages in the navigation, with their titles."""

UNDER = {"batch": "batches"}
"""Pages that are reached from one of the navigation: a batch's own from its row."""
