"""Parse the DAG files of a project in a process of its own, and say as JSON what they define and what else they did.

    python -m tests.dags.parse REPORT ROOT

ROOT is a DAG bundle: a project's root. What parsing does beside defining DAGs is seen by an audit hook, which nothing in
the process can switch off.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

#: Clients, drivers and engines: seconds of import, or a connection waiting to be opened. Tasks import them, DAG files not.
HEAVY = frozenset(
    [
        "adbc_driver_manager",
        "adbc_driver_postgresql",
        "aiohttp",
        "apprise",
        "asyncpg",
        "boto3",
        "botocore",
        "dbt",
        "great_expectations",
        "numpy",
        "pandas",
        "psycopg",
        "psycopg2",
        "pyarrow",
        "requests",
        "scipy",
    ]
)
_SECRET = ("AIRFLOW_CONN_", "AIRFLOW_VAR_")
_SECRET_WORDS = ("PASSWORD", "SECRET", "TOKEN")
_ALWAYS = {
    "socket.connect": "connects to {1}",
    "socket.sendto": "sends to {1}",
    "socket.bind": "listens on {1}",
    "socket.getaddrinfo": "asks for the address of {0}",
    "socket.gethostbyname": "asks for the address of {0}",
    "sqlite3.connect": "opens the database {0}",
    "subprocess.Popen": "starts {1}",
    "os.system": "starts {0}",
    "os.exec": "becomes {0}",
    "os.posix_spawn": "starts {0}",
    "os.fork": "forks",
}
_WRITES = {
    "os.mkdir": "makes the folder {0}",
    "os.remove": "deletes {0}",
    "os.rename": "renames {0}",
    "os.rmdir": "deletes the folder {0}",
    "os.truncate": "truncates {0}",
    "os.symlink": "makes the link {1}",
    "shutil.rmtree": "deletes the folder {0}",
    "shutil.copyfile": "copies {0}",
}


class Watch:
    """What the process does while `on`. Writing is allowed below `scratch` and into bytecode caches only."""

    def __init__(self, scratch: Path) -> None:
        self.on = False
        self.scratch = str(scratch)
        self.seen: list[str] = []
        sys.addaudithook(self._hook)
        os.environ._data = _Read(os.environ._data, self)  # type: ignore[attr-defined]

    def saw(self, what: str) -> None:
        if self.on and what not in self.seen:
            self.seen.append(what)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _ALWAYS:
            self.saw(_ALWAYS[event].format(*arguments))
        elif event in _WRITES:
            if not self._allowed(arguments[0]):
                self.saw(_WRITES[event].format(*arguments))
        elif event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not self._allowed(path):
                self.saw(f"opens {path} for writing")

    def _allowed(self, path: Any) -> bool:
        if isinstance(path, int):  # a descriptor: whoever opened it was asked then
            return True
        text = os.path.abspath(os.fsdecode(path))
        return text.startswith(self.scratch) or "__pycache__" in text or text == os.devnull


class _Read(dict):  # type: ignore[type-arg]
    """The environment, telling when a secret is looked up in it."""

    def __init__(self, variables: dict[bytes, bytes], watch: Watch) -> None:
        super().__init__(variables)
        self._watch = watch

    def __getitem__(self, key: bytes) -> bytes:
        name = os.fsdecode(key)
        # Airflow's own settings are read by Airflow
        if not name.startswith("AIRFLOW__") and (
            name.startswith(_SECRET) or any(word in name for word in _SECRET_WORDS)
        ):
            self._watch.saw(f"reads the secret {name} from the environment")
        return super().__getitem__(key)  # type: ignore[no-any-return]


def _top(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def _parse(bag: Any, path: Path, root: Path, watch: Watch) -> dict[str, Any]:
    before, cpu, wall = set(sys.modules), time.process_time(), time.perf_counter()
    watch.seen, watch.on = [], True
    bag.process_file(str(path), only_if_updated=False)
    watch.on = False
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    added = set(sys.modules) - before
    packages = _top(added) - _top(before)
    return {
        "file": str(path.relative_to(root)),
        "cpu": round(cpu, 3),
        "wall": round(wall, 3),
        "modules": len(added),
        "packages": sorted(name for name in packages if not name.startswith("unusual_prefix_")),
        "heavy": sorted(HEAVY & _top(added)),
        "did": watch.seen,
    }


def main(report: Path, root: Path) -> None:
    watch = Watch(Path(os.environ["AIRFLOW_HOME"]))
    start = time.process_time()
    import cosmos  # noqa: F401  # what every parse of a dbt DAG costs, whatever we write
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.utils.file import list_py_file_paths

    from tests.dags.facts import facts

    baseline = {"cpu": round(time.process_time() - start, 3), "modules": len(sys.modules)}
    baseline["heavy"] = sorted(HEAVY & _top(set(sys.modules)))
    bag = BundleDagBag(bundle_path=root, bundle_name="millrace", dag_folder=str(root), collect_dags=False)
    paths = sorted(map(Path, list_py_file_paths(str(root))))
    found = {
        "baseline": baseline,
        "files": [_parse(bag, path, root, watch) for path in paths],
        "again": [_parse(bag, path, root, watch) for path in paths],
        "import_errors": bag.import_errors,
        "dags": {dag_id: facts(dag) for dag_id, dag in sorted(bag.dags.items())},
        "databases": sorted(path.name for path in Path(watch.scratch).rglob("*.db")),
    }
    report.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve())
