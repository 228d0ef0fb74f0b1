"""What Millrace does, in plain Python: stages, and the flows that compose them. Nothing here imports Airflow."""
