"""Keeping the nights going: where each batch stands, and what is known of it for that.

standing   facts of the lake and Airflow's runs -> where a batch stands, why, what mends it
facts      reads those facts of the lake
damage     a batch that cannot be read takes no other with it
failures   why a stage failed last, as its process noted it
memory     what `reconcile` mended and told before
"""
