"""What contracts say about each other, checked without any connection."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from include.cli.main import app
from include.core.contracts.check import all_files, check, find_files, stray_files
from include.core.errors import ContractError
from tests.unit.test_contracts import SOURCE, SYNC, TRANSFORM, write

TODAY = date(2026, 11, 20)


def _folder(folder: Path, source: str = SOURCE, transform: str = TRANSFORM, sync: str = SYNC) -> Path:
    write(folder, "sources", "shop", source)
    write(folder, "transforms", "shop", transform)
    write(folder, "syncs", "contacts", sync)
    return folder


def _told(folder: Path, **options: object) -> tuple[list[str], list[str]]:
    report = check(all_files(folder), today=TODAY, folder=folder, **options)  # type: ignore[arg-type]
    faults, warnings = (
        [
            f"{one.path.name}:{one.line}: {one.field}: {one.what} | {one.received} | {one.allowed}"
            for one in group
        ]
        for group in (report.faults, report.warnings)
    )
    return faults, warnings


def test_contracts_that_fit_together(tmp_path: Path) -> None:
    assert _told(_folder(tmp_path)) == ([], [])


def test_a_transform_of_a_source_that_is_not_there(tmp_path: Path) -> None:
    folder = _folder(tmp_path, transform=TRANSFORM.replace("[shop]", "[shop, shap]"))
    assert _told(folder)[0] == ["shop.yaml:5: sources[1]: no such source | 'shap' | shop"]


def test_a_sync_of_a_transform_that_is_not_there(tmp_path: Path) -> None:
    folder = _folder(tmp_path, sync=SYNC.replace("transform: shop", "transform: mart"))
    assert _told(folder)[0] == ["contacts.yaml:5: transform: no such transform | 'mart' | shop"]


def test_a_faulty_source_is_still_there_for_its_transform(tmp_path: Path) -> None:
    faults, _ = _told(_folder(tmp_path, source=SOURCE.replace("keeps: forever", "keeps: 3")))
    assert [fault.split(" | ")[0] for fault in faults] == ["shop.yaml:8: keeps: not allowed"]


@pytest.mark.parametrize(
    ("until", "faults", "warnings"),
    [("2026-11-19", 1, 0), ("2026-11-20", 0, 1), ("2026-12-03", 0, 1), ("2026-12-04", 0, 0)],
)
def test_what_is_accepted_ends_with_a_warning_first(
    tmp_path: Path, until: str, faults: int, warnings: int
) -> None:
    keeps = f"keeps: &a {{by: me, why: so, until: {until}}}\nduplicates: *a"
    told = _told(_folder(tmp_path, source=SOURCE.replace("keeps: forever", keeps)))
    assert (len(told[0]), len(told[1])) == (faults, warnings)
    for text in (*told[0], *told[1]):
        assert text.startswith("shop.yaml:8: keeps.until: ")
        assert f"| '{until}' |" in text


def test_a_connection_that_is_not_found_is_a_warning(tmp_path: Path) -> None:
    alerts = "alerts: {on_failure: [pager]}\nprivacy_keys: keys\nkeeps: forever"
    folder = _folder(tmp_path, source=SOURCE.replace("keeps: forever", alerts))
    faults, warnings = _told(folder, defined=lambda conn_id: conn_id == "shop")
    assert faults == []
    assert [warning.split(" | ")[:2] for warning in warnings] == [
        ["shop.yaml:8: alerts.on_failure[0]: connection not found here", "'pager'"],
        ["shop.yaml:9: privacy_keys: connection not found here", "'keys'"],
        ["contacts.yaml:10: destination.connection: connection not found here", "'crm'"],
    ]
    assert "AIRFLOW_CONN_PAGER in .env" in "".join(warnings)


def test_two_files_of_one_raw_schema(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    other = write(tmp_path / "other", "sources", "shop", SOURCE)
    report = check([*all_files(folder), other], today=TODAY, folder=folder)
    (fault,) = report.faults
    assert fault.what.startswith("another file writes the same schema: ")
    assert fault.received == "'raw_shop'"


def test_a_sync_whose_own_writes_come_back(tmp_path: Path) -> None:
    # the table that a stream of the shop reads, by another role of the same server
    folder = _folder(tmp_path, sync=SYNC.replace("crm.contacts", "shop.orders"))
    assert _told(folder, system_of=lambda conn_id: conn_id) == ([], [])
    faults, warnings = _told(folder, system_of=lambda conn_id: "one server")
    assert faults == []
    assert len(warnings) == 1
    assert "what it sends comes back: source 'shop' reads it as stream 'orders'" in warnings[0]
    assert "destination.table" in warnings[0]


def test_two_syncs_that_fill_one_field(tmp_path: Path) -> None:
    more = SYNC + "  email: email\n"
    folder = _folder(tmp_path, sync=more)
    write(folder, "syncs", "again", more.replace("sync: contacts", "sync: again"))
    _, warnings = _told(folder)
    assert len(warnings) == 1
    assert "mapping.email: another sync fills the same field: " in warnings[0]


def test_names_and_files(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert find_files(["shop"], folder) == [folder / "sources/shop.yaml", folder / "transforms/shop.yaml"]
    path = folder / "syncs/contacts.yaml"
    assert find_files([str(path), "contacts"], folder) == [path]
    with pytest.raises(ContractError, match=r"(?s)no such contract.*contacts, shop"):
        find_files(["shup"], folder)


def test_files_that_nobody_reads(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "sources" / "crm.yml").write_text("")
    (folder / "erp.yaml").write_text("")
    assert [fault.path.name for fault in stray_files(folder)] == ["crm.yml", "erp.yaml"]


def test_a_file_in_a_folder_of_no_contracts(tmp_path: Path) -> None:
    path = write(tmp_path, "somewhere", "shop", SOURCE)
    (fault,) = check([path], today=TODAY).faults
    assert fault.allowed == "sources, transforms, syncs"


def test_the_command_ends_with_a_summary_and_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(_folder(tmp_path)))
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    for conn_id in ("SHOP", "CRM"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", "postgresql://u:p@localhost/d")
    # a project that dbt has not read yet
    monkeypatch.setattr("include.stack.home.DBT_MANIFEST", tmp_path / "manifest.json")
    good = CliRunner().invoke(app, ["contract", "check"])
    assert good.exit_code == 0
    assert good.output == "checked 1 sources, 1 transforms, 1 syncs: 0 faults, 0 warnings\n"
    write(tmp_path, "sources", "shop", SOURCE.replace("lateness: 10m", "latenes: 10m"))
    bad = CliRunner().invoke(app, ["contract", "check", "shop"])
    assert bad.exit_code == 1
    path = tmp_path / "sources" / "shop.yaml"
    assert f"fault    {path}:10: latenes: unknown field; did you mean 'lateness'?" in bad.output
    assert bad.output.endswith("checked 1 sources, 1 transforms, 0 syncs: 1 faults, 0 warnings\n")


def test_personal_data_that_would_leave_unnamed(tmp_path: Path) -> None:
    more = SYNC + "  email: mail\n  hello: {template: 'Dear {name}'}\n"

    def found(sync: str, personal: frozenset[str] | None) -> list[str]:
        folder = _folder(tmp_path, sync=sync)
        report = check(all_files(folder), today=TODAY, folder=folder, personal=lambda model: personal)
        return [f"{fault.line}: {fault.field}: {fault.what}" for fault in (*report.faults, *report.warnings)]

    leaves = "personal data would leave the warehouse"
    assert found(more, frozenset({"mail", "name", "other"})) == [
        f"15: mapping.email: {leaves}",
        f"16: mapping.hello: {leaves}",
    ]
    assert found(f"{more}personal: [mail, name]\n", frozenset({"mail", "name"})) == []
    (warning,) = found(more, None)
    assert warning.startswith("6: model: dbt does not know this model")


def test_syncs_of_one_connection_agree_on_its_rate(tmp_path: Path) -> None:
    http = "type: http\n  path: /v1/upsert\n  rate_limit: 100/10s"
    one = SYNC.replace("type: postgres", http).replace("  table: crm.contacts\n", "")
    folder = _folder(tmp_path, sync=one)
    write(folder, "syncs", "again", one.replace("sync: contacts", "sync: again").replace("/v1/", "/v2/"))
    assert _told(folder) == ([], [])
    write(folder, "syncs", "third", one.replace("sync: contacts", "sync: third").replace("100/10s", "5/1s"))
    (fault,), _ = _told(folder)
    assert "destination.rate_limit: another sync says 100/10s for this connection: " in fault
