"""A run on pictures with hostile names, and the application of a review of it, without a server."""

import shutil

import pytest
from report.conftest import World
from starlette.testclient import TestClient

from headclust.review.app import make_app
from headclust.review.desk import Desk
from headclust.review.guard import HEADER, Keys

PORT = 40_123


class Page:
    """The application of a review and what its page would send to it."""

    def __init__(self, run) -> None:
        self.keys = Keys(port=PORT)
        self.desk = Desk(run, self.keys)
        self.client = TestClient(make_app(self.desk, self.keys), base_url=f"http://127.0.0.1:{PORT}")
        self.headers = {HEADER: self.keys.token}

    def read(self, name, status=200, /, **values):
        response = self.client.get(f"/data/{name}", params=values, headers=self.headers)
        assert response.status_code == status, response.text
        return response.json()

    def change(self, name, status=200, /, **values):
        response = self.client.post(f"/change/{name}", json=values, headers=self.headers)
        assert response.status_code == status, response.text
        return response.json()

    def image(self, row, side=0):
        return self.client.get(f"/image/{row}", params={"side": side, "key": self.keys.images})

    @property
    def lines(self) -> list[str]:
        """The lines of fixes.csv, without its header."""
        return self.desk.session.file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]


@pytest.fixture(scope="session")
def reviewed(tmp_path_factory) -> World:
    """One world for all tests; its run is copied, not changed."""
    return World(tmp_path_factory.mktemp("reviewed"))


@pytest.fixture
def run(reviewed, tmp_path):
    return shutil.copytree(reviewed.run, tmp_path / "run")


@pytest.fixture
def page(run):
    made = Page(run)
    yield made
    made.desk.close()
