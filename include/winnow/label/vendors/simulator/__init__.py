"""The simulator as a labelling vendor: `client` talks to the service of `winnow_simulator`."""

from winnow.label.vendor import VendorKind

KIND = VendorKind(
    "standard",
    note="**The labels come from a labelling-vendor simulator: its annotators are a formula, and "
    "no human judged anything, unless somebody answered tasks by hand on its page.**",
)
