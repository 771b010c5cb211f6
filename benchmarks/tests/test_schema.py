import json

import pytest
from study.schema import check_line

from headclust.errors import FileFormatError

from .lines import failed_line, fit_line, point_line, probe_line


@pytest.mark.parametrize("line", [fit_line(), failed_line(), probe_line(), point_line("beta", 0.6, 0.5)])
def test_lines_of_ours_pass_and_unknown_fields_are_no_harm(line):
    check_line(json.loads(json.dumps(line)), "x")
    check_line({**line, "more": [1]}, "x")
    check_line({**line, "key": None, "status": "failed"}, "x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "table"}, "its kind is 'table': expected fit or probes"),
        ({"status": "running"}, "its status is 'running': expected done or failed"),
        ({"key": 3}, "records no key"),
        ({"seed": "0"}, "its seed is '0': expected a whole number"),
        ({"seed": True}, "its seed is True"),
        ({"settings": []}, "its settings is"),
        ({"scores": {"accuracy": "high"}}, "its scores is .* expected an object of numbers"),
        ({"scores": {"accuracy": float("inf")}}, "its scores is"),
        ({"scores": {"accuracy": 10**400}}, "its scores is"),
        ({"seconds": 3.0}, "its seconds is 3.0"),
        ({"features": {"fit": "a.h5"}}, "its features is"),
        ({"features": "a.h5"}, "its features is"),
        ({"oracle": {"nmi": 0.5}}, "its oracle is"),
        ({"steps": {"reached": 3}}, "its steps is"),
        ({"versions": {"torch": 2}}, "its versions is"),
        ({"value": "0.5"}, "its value is"),
        ({"assignments": 1}, "its assignments is 1: expected text"),
        ({"text_supervised": "no"}, "expected true or false"),
        ({"error": "x" * 1000, "n_clusters": "x" * 1000}, "its n_clusters is"),
    ],
)
def test_what_is_damaged_is_one_clear_line(change, words):
    with pytest.raises(FileFormatError, match=words) as error:
        check_line({**fit_line(), **change}, "results.jsonl, line 7")
    assert str(error.value).startswith("results.jsonl, line 7")
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)
