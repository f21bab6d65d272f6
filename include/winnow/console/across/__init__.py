"""The pages over several campaigns: what is common to them, and the way to each one's own page.

Each module is a function `page(lake, scope, fields, query, site) -> Page`, where `scope` has the
campaigns that are meant and `fields` are those of the filter. None reads every batch of every
campaign: lists are merged from keys, which come with each campaign's ledger.
"""
