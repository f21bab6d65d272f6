"""Makes no DAG: says which campaigns of the folder are broken, each with the setting.

Here the error of one campaign stands alone, and takes no other's DAGs away.
"""

from winnow_airflow.campaigns import raise_faults

raise_faults()
