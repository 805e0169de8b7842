"""Whatever the description of the server allows to be asked, it answers, and as the description says."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

import hypothesis
import schemathesis
import uvicorn
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

import diptych
from diptych.server.app import create_app
from diptych.server.running import listening
from diptych.server.settings import Settings
from diptych.testing import Colours


def test_no_request_is_a_fault_of_the_server(photos: Path) -> None:
    with diptych.open(photos, model=Colours()) as filling:
        filling.add()
    app = create_app([diptych.open(photos, model=Colours())], Settings(write=True, urls=True))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", proxy_headers=False, ws="none"))
    with listening("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with urllib.request.urlopen(f"{address}/api/v1/openapi.json") as answer:
                schema = schemathesis.openapi.from_dict(json.load(answer))
            asked = [one.ok() for one in schema.exclude(path_regex="/events$").get_all_operations()]
            assert len(asked) > 20
            for operation in asked:
                _ask(operation, address)
        finally:
            server.should_exit = True
            thread.join()


def _ask(operation: Any, address: str) -> None:
    """Whatever is asked of an endpoint, its answer is one that is described."""

    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=4,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def ask(case: Any) -> None:
        answer = case.call(base_url=address)
        checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
        case.validate_response(answer, checks=checks)

    ask()
