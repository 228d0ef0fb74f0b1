"""One sync as its DAG and the command line run it: what may leave, where, and what a person approved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from include import activation
from include.core.connection import Connection
from include.core.contracts.mapping import columns_of
from include.core.contracts.sync import ApprovalAbove, SyncContract
from include.core.errors import BreakerTripped, ContractError, TerminalError
from include.flows import dbt_models
from include.flows.sync_text import plan_lines

#: The connection by which every sync reads the warehouse.
WAREHOUSE = "warehouse_activator"


class Sync:
    """`connect` finds a connection by its id, `manifest` is what dbt wrote of its project, `environment` what this
    installation is called."""

    def __init__(
        self,
        contract: SyncContract,
        connect: Callable[[str], Connection],
        manifest: Path,
        environment: str = "local",
    ) -> None:
        self.contract = contract
        self._connect = connect
        self._environment = environment
        self._model = dbt_models.model(manifest, contract.model)

    def plan(self, say: Callable[[str], None]) -> activation.Plan:
        """What a run would send now, said line by line. Raises as `check_personal` and `activation.plan` do."""
        self.check_personal()

        def show(plan: activation.Plan) -> None:
            for line in plan_lines(self.contract, plan, self.personal_fields):
                say(line)

        return activation.plan(self.contract, self._connect(WAREHOUSE), show)

    def deliver(self, run_id: str, approved: activation.Approved | None = None) -> activation.SyncReport:
        """Send it. Raises as `check_personal` and `activation.run` do.

        :param approved: what a person was shown and approved; None: nobody was asked.
        :raises TerminalError: nothing may be sent from this environment.
        :raises BreakerTripped: more would be sent by now than was approved, or than goes without asking.
        """
        self.check_personal()
        if elsewhere := self.held_by_environment():
            raise TerminalError(elsewhere, where=f"sync {self.contract.sync!r}")

        def permit(plan: activation.Plan) -> str | None:
            if approved is None and self.needs_approval(plan):
                raise BreakerTripped(
                    "so much has to be approved by now, and nobody was asked; nothing was sent",
                    where=f"sync {plan.sync!r}, model {plan.model_version}",
                    received=f"{plan.planned} records to send",
                    todo="clear the run from `plan` on, or start a new one",
                )
            if approved is None:
                return None
            approved.check(plan)
            return approved.by

        return activation.run(
            self.contract,
            self._connect(WAREHOUSE),
            self._connect(self.contract.destination.connection),
            run_id=run_id,
            permit=permit,
        )

    def settle(self, run_id: str) -> activation.SyncReport:
        """The books of a run, from the ledger."""
        return activation.settle(self.contract, self._connect(WAREHOUSE), run_id=run_id)

    def verify(
        self, run_id: str, *, everything: bool = False, overwrite: bool = False
    ) -> activation.Verification:
        """What others changed at the destination. Raises as `activation.verify` does.

        :param everything, overwrite: more than the contract's `verify` and `on_drift` say.
        """
        found = activation.verify(
            self.contract,
            self._connect(WAREHOUSE),
            self._connect(self.contract.destination.connection),
            run_id=run_id,
            everything=everything or self.contract.verify == "all",
            overwrite=overwrite or self.contract.on_drift == "overwrite",
        )
        if self.contract.destination.key in self.personal_fields:
            found.examples.clear()
        return found

    def held_by_environment(self) -> str:
        """Why nothing is sent from here; empty when it may be."""
        here, allowed = self._environment, self.contract.environments
        if not allowed or here in allowed:
            return ""
        return f"this environment is {here}, and the contract lets it send only from {', '.join(allowed)}"

    def check_personal(self) -> None:
        """See that no column leaves that is personal and that the contract does not name.

        :raises TerminalError: dbt does not know the model, so that nobody can say. :raises ContractError: one would leave.
        """
        where = f"sync {self.contract.sync!r}, model {self.contract.model}"
        if self._model is None:
            raise TerminalError(
                "dbt does not know the model, so nobody can say which of its columns are personal",
                where=where,
                todo="correct the contract's model; `millrace up` or `dbt parse --target prod` writes dbt's manifest",
            )
        refused = self.contract.undeclared(dbt_models.personal_columns(self._model))
        if refused:
            raise ContractError(
                "personal data would leave the warehouse that the contract does not name",
                where=where,
                received=", ".join(refused),
                allowed=f"personal: [{', '.join((*self.contract.personal, *refused))}]",
                todo="take the columns out of the mapping, or name them under `personal` when they may leave",
            )

    @property
    def personal_fields(self) -> frozenset[str]:
        """Fields of the destination whose values are not shown: all of them where the model is not known."""
        mapping = self.contract.mapping
        if self._model is None:
            return frozenset(mapping)
        personal = dbt_models.personal_columns(self._model)
        return frozenset(name for name, filling in mapping.items() if personal & set(columns_of(filling)))

    def needs_approval(self, plan: activation.Plan) -> bool:
        """Whether a person has to be asked before this plan is sent."""
        approval = self.contract.approval
        if not isinstance(approval, ApprovalAbove):
            return approval == "always" and plan.planned > 0
        there = plan.known + plan.gone
        return plan.planned > (approval.above * there if approval.above < 1 else approval.above)
