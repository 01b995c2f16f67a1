"""Dagster's resources: the services that ops get, and the IO manager, what passes between them."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster_aws.s3 import S3Resource
from pydantic import Field

from musehub_pipeline import local
from musehub_pipeline.phases.services import Services, open_services
from musehub_pipeline.settings import Settings


class MusehubResource(S3Resource):
    """The database, the object storage and the scratch folder of a run. What is left out comes
    from the environment when the run starts: the MUSEHUB_ variables and the usual AWS ones. With
    nothing set anywhere, embedded services are used.
    """  # One paragraph: the UI takes it as Markdown, where an indented second one would be code.

    database_url: str | None = Field(
        default=None, description="PostgreSQL; default: MUSEHUB_DATABASE_URL."
    )
    storage_url: str | None = Field(
        default=None, description="s3://bucket/prefix or file:///dir; default: MUSEHUB_STORAGE_URL."
    )
    # The launchpad puts defaults into a run's config, where these would look like settings of ours.
    max_attempts: int | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=None, description="Attempts at a request to S3, not at a job; default: 5."
    )
    use_ssl: bool | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=None, description="Whether S3 is asked over TLS; default: true."
    )
    use_unsigned_session: bool | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=None, description="Whether requests to S3 are not signed; default: false."
    )

    @contextmanager
    def yield_for_execution(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: dg.InitResourceContext
    ) -> Generator[Services]:
        """Open the services for a run, and close them whatever becomes of it."""
        del context
        given = {
            name: value
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.default
        }
        urls = {name: given.pop(name) for name in ("database_url", "storage_url") if name in given}
        settings = Settings.load(urls)
        with open_services(local.resolve(settings), s3=replace(settings.s3, **given)) as services:
            yield services


def fixed_resource(settings: Settings) -> dg.ResourceDefinition:
    """Return the resource for a run in this process, with `settings` as they are."""

    @dg.resource(description="The services of this process.")
    def services(context: dg.InitResourceContext) -> Iterator[Services]:
        del context
        with open_services(local.resolve(settings)) as opened:
            yield opened

    return services


MusehubServices = dg.ResourceParam[Services]
"""What an op asks for."""


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
