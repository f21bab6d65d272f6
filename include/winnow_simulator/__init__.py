"""The labelling-vendor simulator: a separate HTTP service that stands where a vendor would.

`service` is the program, and `winnow.label.vendors.simulator` the adapter; `books` hold all its
state, `staff` and `annotators` are who answers, `faults` what goes wrong when it is told to,
`people` what a person sees. No human answers unless somebody does so by hand on that page, and no
money moves.
"""
