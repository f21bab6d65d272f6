"""Anybody who opens a link: our own page, behind links that are signed and expire.

client     the adapter: the books of a batch, status, what is fetched
tokens     links, and what else the account's secret proves
desk       who is given which task, and what they answered
app        the page
pace       how often somebody may ask
"""

from winnow.label.vendor import VendorKind

KIND = VendorKind(extra=("books", "completion_url", "worker_parameter"))
