"""The thin layer between Airflow and the flows: what a contract means as a DAG, and one task for each step."""
