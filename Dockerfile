# The image of all Airflow services in docker-compose.yaml: the packages of requirements.txt, the project, and the dbt graph
# that transform DAGs are made of. It holds no secret, and nothing in it is writable to the user that it runs as, but logs.
FROM python:3.12.13-slim-bookworm

ENV VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /opt/millrace

# packages first: a change of the project takes them from the build's cache
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache \
    python -m venv "$VIRTUAL_ENV" \
    && pip install --quiet "$(sed -n 's/^\(uv==[^ ;]*\).*/\1/p' requirements.txt)" \
    && uv pip install --quiet --link-mode copy --compile-bytecode -r requirements.txt

COPY . ./
RUN uv pip install --quiet --no-deps --no-build-isolation --editable . \
    && python -m compileall -q dags include plugins \
    && WAREHOUSE_HOST=warehouse WAREHOUSE_TRANSFORMER_PASSWORD=not-used-by-parsing DBT_SEND_ANONYMOUS_USAGE_STATS=False \
       dbt --quiet parse --profile shop --target prod --project-dir dbt_project --profiles-dir dbt_project

# a volume takes the ownership of the folder that it is mounted on
RUN useradd --uid 50000 --no-create-home --home-dir /tmp millrace \
    && install --directory --owner millrace --mode 0700 /opt/airflow /opt/airflow/logs
USER millrace
CMD ["airflow", "version"]
