"""The local stack: real Postgres, S3 and Airflow processes of one clone, without Docker and without root."""
