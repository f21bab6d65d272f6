"""Keeping the nights going: where each batch stands, what mends it, and who is told.

standing    facts of the lake and Airflow's runs -> where a batch stands, why, what mends it
facts       reads those facts of the lake
damage      a batch that cannot be read takes no other with it
failures    why a stage failed last, as its process noted it
reconcile   what was lost on the way is found, mended, and told
alarms      what a person must hear of a batch; `telling` tells each once
memory      what `reconcile` mended and told before
"""
