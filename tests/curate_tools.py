"""What the tests ask the server of the curation page, without a socket."""

from starlette.testclient import TestClient

from celltraces.curate import app

TOKEN = "a-token-of-the-tests"
SIZE, FRAMES = 96, 8


def client_of(results):
    """Asks the app without a socket, as the page does."""
    headers = {"x-celltraces-token": TOKEN}
    return TestClient(app.make_app(results, TOKEN), base_url="http://127.0.0.1:8731", headers=headers)


def fov_of(client, **query):
    return client.get("/api/fov", params={"dataset": "one", "fov": 0, **query}).json()


def state_of(answer):
    return dict(zip(answer["cells"]["n"], answer["cells"]["state"], strict=True))


def save(client, op, status=200, **more):
    answer = client.post("/api/edit", json={"dataset": "one", "fov": 0, "op": op, **more})
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.text
