"""The five stages: each reads the manifests before it, calls the domain code, and commits its own.

`run(batch, ...)` may be killed anywhere and called again; a stage that is done returns its
manifest at once. `tasks` is the one table of tasks, in which the DAGs are written down.
"""
