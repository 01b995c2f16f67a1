"""What passes between the ops of a run: in memory, and for the next op only."""

from typing import Any

import dagster as dg


class HandOver(dg.IOManager):
    """Keeps an output until it is taken, once: a run of many batches holds one at a time."""

    def __init__(self) -> None:
        self._outputs: dict[tuple[str, ...], Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep an output."""
        self._outputs[tuple(context.get_identifier())] = obj

    def load_input(self, context: dg.InputContext) -> Any:
        """Give an output away."""
        if context.upstream_output is None:
            raise dg.DagsterInvariantViolationError("an input comes from no op")
        key = tuple(context.upstream_output.get_identifier())
        if key not in self._outputs:
            raise dg.DagsterInvariantViolationError(
                f"{'.'.join(key[1:])} is not in memory: execute all steps again, not only some"
            )
        return self._outputs.pop(key)


@dg.io_manager(description="Memory, of this run's process.")
def hand_over(context: dg.InitResourceContext) -> HandOver:
    """Return what the ops of one run share."""
    del context
    return HandOver()
