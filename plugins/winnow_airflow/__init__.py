"""Airflow in, Winnow out: the only code that knows both.

`dags/` wires what stands here; nothing here computes. Airflow must not execute these files as
plugins of their own (it would import each one a second time under another name), hence the
`.airflowignore` beside this package.
"""
