"""Winnow on one machine: set-up, the processes of a local Airflow, and the demo.

It drives Airflow from outside, by its command line and its REST API, and imports none of it.
"""
