from headclust import verbs


def test_verify_names_what_does_not_hold(blob_file, nan_file):
    assert verbs.verify(blob_file) == []
    assert any("image-17.png" in problem for problem in verbs.verify(nan_file))
