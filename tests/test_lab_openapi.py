"""The lab's HTTP interface keeps to its own description, whatever it is asked: schemathesis makes up what."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab_client import ORIGIN, TOKEN, lab
from schemathesis.specs.openapi.checks import positive_data_acceptance


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with lab(tmp_path_factory.mktemp("lab")) as client:
        yield client


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_is_asked_the_answers_are_those_described(client, data):
    schema = schemathesis.openapi.from_dict(client.get(f"/{TOKEN}/openapi.json").json())
    mode = data.draw(st.sampled_from(schemathesis.GenerationMode))
    operation = data.draw(st.sampled_from([found.ok() for found in schema.get_all_operations()]))
    case = data.draw(operation.as_strategy(generation_mode=mode))
    asked = case.as_transport_kwargs(base_url=f"{ORIGIN}/{TOKEN}")
    answer = client.request(asked["method"], asked["url"], params=asked["params"], content=asked.get("data"))
    # Pictures come packed in a way that OpenAPI has no words for: most bytes are refused.
    left_out = [positive_data_acceptance] if operation.path == "/uploads/pictures" else []
    case.validate_response(answer, excluded_checks=left_out)


def test_the_description_tells_of_every_route(client):
    assert set(client.get(f"/{TOKEN}/openapi.json").json()["paths"]) == {"/uploads", "/uploads/pictures"}
    assert client.get("/openapi.json").status_code == 403
