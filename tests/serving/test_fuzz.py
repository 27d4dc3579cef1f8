"""Whatever the OpenAPI schema allows, and what it forbids, never makes the server fail."""

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving_app import make_engine, serve

from flythinker.data.example import Document
from flythinker.serving.settings import DEFAULT_TENANT
from flythinker.serving.storage.store import Store

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
def url(personal, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/store.db")
    store.add(DEFAULT_TENANT, "ann", [Document("The sea was calm.")], 10)
    with serve(make_engine(personal, slots=8), store) as url:
        yield url
    store.close()


def name_what_exists(case: schemathesis.Case) -> None:
    """Few requests would get far if all models and users were made up."""
    existing = {"model": "tiny", "user": "ann", "user_id": "ann"}
    for fields in (case.body, case.path_parameters):
        if isinstance(fields, dict):
            fields |= {name: existing[name] for name in existing if name in fields}


@pytest.mark.parametrize("mode", GenerationMode, ids=str)
@pytest.mark.parametrize("requests", [10, pytest.param(300, marks=pytest.mark.slow)])
def test_no_request_makes_the_server_fail(url, mode, requests):
    """So many requests to each route."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=requests,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(mode))
        def fuzz(case: schemathesis.Case) -> None:
            if mode == GenerationMode.POSITIVE:
                name_what_exists(case)
            response = case.call(timeout=60)
            if response.text != "Invalid HTTP request received.":  # uvicorn's, before it is ours
                case.validate_response(response, checks=CHECKS)

        with contextlib.suppress(
            Unsatisfiable
        ):  # nothing can be wrong with a route that asks nothing
            fuzz()
        tried.add(operation.label)
    assert len(tried) >= 14
