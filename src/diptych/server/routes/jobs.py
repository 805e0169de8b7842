"""Jobs: what the server does at length, and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from diptych.server import schema
from diptych.server.app import Json
from diptych.server.errors import Refused, without_paths
from diptych.server.jobs import Job
from diptych.server.routes.shared import (
    FAILURES,
    Here,
    Writing,
    is_local,
    looked_up,
)

__all__ = ["router"]

router = APIRouter(responses=FAILURES)

_HEEDS = {"index": {"folders", "texts", "check", "forget_missing"}, "codes": {"bits"}}
_FOLLOWED = 15.0  # seconds after which a stream without news says that it is there


def _job_facts(job: Job, *, local: bool) -> dict[str, Any]:
    facts = job.facts()
    if local:
        return facts
    folders = [job.served.collection.folder]
    if facts["error"] is not None:
        facts["error"] = without_paths(facts["error"], folders)
    for name in ("current", "summary"):
        facts[name] = _without(facts[name], folders)
    return facts


def _without(value: Any, folders: Any) -> Any:
    if isinstance(value, str):
        return without_paths(value, folders)
    if isinstance(value, list):
        return [_without(one, folders) for one in value]
    return {name: _without(one, folders) for name, one in value.items()} if isinstance(value, dict) else value


@router.post("/api/v1/jobs", response_model=schema.Job, status_code=202, dependencies=[Writing])
async def ask_job(request: Request, serving: Here, asked: schema.JobAsked) -> Any:
    """Have a collection brought up to date with its folder; once accepted, it is done."""
    ignored = set(asked.model_dump(exclude_defaults=True)) - {"collection", "kind", *_HEEDS[asked.kind]}
    if ignored:
        raise Refused(
            "BadRequest",
            f"a job of kind {asked.kind} takes {' and '.join(sorted(_HEEDS[asked.kind]))}, and not "
            f"{' and '.join(sorted(ignored))}; ask for each in a job of its own",
            part=min(ignored),
        )
    served, local = serving.holding.get(asked.collection), is_local(request)
    job = await looked_up(serving, lambda: serving.jobs.ask(served, asked))
    return Json(_job_facts(job, local=local), status_code=202)


@router.get("/api/v1/jobs", response_model=schema.Jobs)
async def jobs(request: Request, serving: Here) -> Any:
    """The jobs that run, wait or have ended, the newest first."""
    return Json({"jobs": [_job_facts(one, local=is_local(request)) for one in serving.jobs]})


@router.get("/api/v1/jobs/{job}", response_model=schema.Job)
async def job_facts(request: Request, serving: Here, job: str) -> Any:
    """How far a job is."""
    return Json(_job_facts(serving.jobs.get(job), local=is_local(request)))


@router.delete("/api/v1/jobs/{job}", response_model=schema.Job, dependencies=[Writing])
async def stop_job(request: Request, serving: Here, job: str) -> Any:
    """End a job at its next batch; what is stored stays."""
    found = serving.jobs.get(job)
    serving.jobs.stop(found)
    return Json(_job_facts(found, local=is_local(request)))


async def _followed(request: Request, serving: Here, job: str) -> Job:
    return serving.jobs.get(job)  # before the answer begins, so that an unknown one is told as such


@router.get("/api/v1/jobs/{job}/events", response_class=EventSourceResponse)
async def job_events(
    request: Request, serving: Here, found: Annotated[Job, Depends(_followed)]
) -> AsyncIterator[ServerSentEvent]:
    """A job as it goes on: `progress` now and with every batch, `skipped` for each file, and `end`."""
    local, version = is_local(request), -1
    while True:
        ended, version_now = found.ended, found.version
        facts = _job_facts(found, local=local)
        if ended:
            for one in (facts["summary"] or {}).get("skipped", []):
                yield ServerSentEvent(event="skipped", data=one)
            yield ServerSentEvent(event="end", data=facts)
            return
        if version_now != version:
            yield ServerSentEvent(event="progress", data=facts)
        version = version_now
        for _ in range(int(_FOLLOWED / 0.2)):
            if serving.stopping or await request.is_disconnected():
                return
            if found.version != version:
                break
            await asyncio.sleep(0.2)
