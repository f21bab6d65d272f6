"""Buys human judgements on comparisons and turns them into preferences.

`tasks` builds what an annotator sees, with `gold` and without `pii`; `rounds` says what the first
answers call for. `submit` buys it without ever buying twice, `collect` reads back every answer,
`aggregate` makes one preference of a pair's votes, `annotator_report` a row of each person.
`vendor` is the contract that each adapter in `vendors` keeps, `webhooks` what a vendor may say
unasked. Nothing here reads a clock: rows in, rows out.
"""
