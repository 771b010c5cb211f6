import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from headclust import cli, verbs
from headclust.verbs.export import FORMATS


@pytest.fixture
def run(write, blobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for row in range(120):
        Image.new("RGB", (2, 2), (row, 0, 0)).save(tmp_path / f"photos/image-{row}.png")
    path = write("photos.h5", blobs.features, attributes={"source": str(tmp_path / "photos")})
    return verbs.fit([path], method="kmeans", clusters=4, output=tmp_path / "run")


def export(*arguments):
    return CliRunner().invoke(cli.cli, ["export", *map(str, arguments)])


@pytest.mark.parametrize("to", FORMATS)
def test_what_was_made_is_printed(run, tmp_path, to):
    told = export(run, "--to", to, "-o", tmp_path / "made")
    assert (told.exit_code, told.stdout) == (0, f"{tmp_path / 'made'}\n")
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(("option", "n_links"), [("", 120), ("--copy", 0), ("--move", 0)])
def test_links_copies_and_moves(run, tmp_path, option, n_links):
    told = export(run, "--to", "folders", *filter(None, [option]))
    assert told.exit_code == 0
    found = list((tmp_path / "exports/run-folders").glob("*/*.png"))
    assert (len(found), sum(path.is_symlink() for path in found)) == (120, n_links)
    assert len(list((tmp_path / "photos").iterdir())) == (0 if option == "--move" else 120)


def test_refused_in_one_line(run, tmp_path, monkeypatch, capsys):
    def refused(*arguments):
        monkeypatch.setattr("sys.argv", ["headclust", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        out, err = capsys.readouterr()
        assert (exited.value.code, out, len(err.splitlines())) == (2, "", 1)
        return err

    assert "give only one of them" in refused(run, "--to", "folders", "--copy", "--move")
    assert "not a run folder" in refused(tmp_path / "photos", "--to", "csv")
    assert "'--to'" in refused(run)


def test_predict_and_then_export(run, write, tmp_path):
    write("new.h5", np.eye(3, 12, dtype=np.float32))
    told = CliRunner().invoke(cli.cli, ["predict", str(run), "--features", str(tmp_path / "new.h5")])
    assert told.exit_code == 0
    assert "3 images: " in told.stderr
    told = export(run, "--to", "csv", "--predicted", "blobs-all-gauss")
    assert (tmp_path / told.stdout.strip()).read_text().splitlines()[0].endswith("confidence,novelty")
