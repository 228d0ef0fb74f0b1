"""The stages composed: what the tasks of the DAGs call, and what a test or a shell can call just as well.

    ingest:     wait for the commit horizon → extract → stage, audit → publish → close
    transform:  begin → dbt build → audit (each table) → publish
    activate:   plan → deliver (see include.activation)

Each step takes names, ids and connections, opens what it needs and leaves nothing open, so that every step can run on
another machine than the step before it.
"""
