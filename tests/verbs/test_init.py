import inspect

from headclust import verbs


def test_the_model_and_the_place_are_a_verbs_own(fit):
    # Every option of a verb is documented.
    for verb in (verbs.run, verbs.embed, verbs.fit, verbs.predict, verbs.evaluate, verbs.import_array):
        documented = inspect.getdoc(verb)
        assert all(f"{name}:" in documented for name in inspect.signature(verb).parameters), verb
