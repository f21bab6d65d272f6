"""Buys human judgements on comparisons and turns them into preferences.

`tasks` builds what an annotator sees, `submit` buys it without ever buying twice, `collect` brings
back every answer, `aggregate` makes one preference of a pair's votes. `vendor` is the contract that
each adapter in `vendors` keeps. Nothing here touches the lake or reads a clock: rows in, rows out.
"""
