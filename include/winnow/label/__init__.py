"""Buys human judgements on comparisons and turns them into preferences.

What to ask    `tasks` builds what an annotator sees (`shown`) in which order (`task_order`), with
               `gold` and without personal data (`pii`); `rounds` says what the first answers call
               for
Buying         `submit` buys it without ever buying twice; `vendor` is the contract that each
               adapter in `vendors` keeps, `webhooks` what a vendor may say unasked
Coming home    `collect` reads back every answer (`annotation`), `unreadable` keeps what is none
Aggregating    `aggregation` makes one preference of a pair's votes, and a row of each annotator

Nothing here reads a clock: rows in, rows out.
"""
