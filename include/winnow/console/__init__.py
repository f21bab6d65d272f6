"""Winnow's pages for people: what a lake holds, as HTML, on a server that has Airflow or none.

    shell    the frame of every page: navigation, style, policy, addresses of pages
    parts    what a query asks for: filters, and a part of a list
    memory   what was read before, bounded; immutable objects are read once
    batches, batch, datasets, spend, selector      a page each, of one campaign
    across/  the same over several campaigns
    scope    the campaigns that a viewer may read, and whose a batch or dataset is
    show     a page by its name: of the one campaign that is meant, or over several
    templates/   their HTML, and `console.html`, the pieces that they share

A page is a function `page(lake, campaign, query, site) -> shell.Page`, in `across` of a scope of
campaigns, that reads the lake through `site.memory`, hands plain data to its template, and raises
`shell.NotFound` for what is not there. Pages lie side by side under one address, so that every link
between them is relative and survives any prefix.
"""
