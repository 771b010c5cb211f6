"""HeadClustering: any method of headclust with scikit-learn's interface for clusterers."""

# ruff: noqa: N803 - X is what scikit-learn calls it
from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import estimator_html_repr
from sklearn.utils.validation import check_is_fitted, validate_data

from headclust.device import resolve_device
from headclust.estimators.summary import summary
from headclust.estimators.validation import (
    InputError,
    InputTypeError,
    check_kind,
    check_whole,
    scikit_learn_errors,
    value_errors,
)
from headclust.features import Features
from headclust.methods import Recipe
from headclust.model import ClusterModel
from headclust.runs.inputs import check_alike, fingerprint, load_spaces
from headclust.runs.levels import Levels
from headclust.runs.scored_fit import fewer_clusters, fit_and_score
from headclust.scoring.metrics import warnings_of


class HeadClustering(ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Cluster features of images with light heads, with the same numbers as `headclust fit`.

    X is an array (n_samples, n_features), a data frame or a CPU tensor of numbers; or a feature file, as its path or as
    loaded by `headclust.load_features`. Labels, given as y or inside a feature file, are never used. Cached views in
    a feature file are used if the method uses views.

    Args:
        n_clusters: Number of clusters.
        method: A name in `headclust.METHODS`, or "default".
        preset: "ours", or "authors" for the authors' own settings, if they published code.
        n_heads: Number of heads (restarts of k-means); the preset's when None.
        settings: Other settings by name, as `headclust settings METHOD` lists them.
        random_state: Seed, 0 or more, the same as `--seed`. A RandomState draws the seed; None takes a new one from the
            operating system in each fit. `seed_` is its value.
        device: Where to fit and predict; the best available when None.

    Attributes:
        labels_: Clusters of the fitted samples, int64 (n_samples,).
        confidence_: Their probability, float32 (n_samples,).
        head_labels_: Clusters by each head, int32 (n_heads, n_samples). Cluster ids differ between heads, except for
            heads that are used together.
        model_: The fitted `headclust.ClusterModel`, on the CPU.
        report_: Sizes, entropy, agreement of heads and seconds, with the keys of metrics.json.
        levels_: How the clusters join, a `headclust.runs.Levels`; None if there are more than 10,000. `cut` applies it.
        history_: Records of the training. There is no `n_iter_`, because stages and heads count in different units.
        seed_: The seed of the fit.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if X was a data frame with column names.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        method: str = "default",
        preset: str = "ours",
        n_heads: int | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        device: str | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.method = method
        self.preset = preset
        self.n_heads = n_heads
        self.settings = settings
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any = None) -> HeadClustering:
        """Fit the heads; return the estimator.

        Args:
            X: Features, at least as many as clusters.
            y: Ignored.

        Raises:
            ValueError: X, a parameter or a setting cannot be used.
        """
        for name in ("method", "preset"):
            check_kind(name, getattr(self, name), str, "a name, see headclust.METHODS and headclust.PRESETS")
        check_kind("device", self.device, (str, type(None)), "a name, or None for the best available")
        seed, space = self._seed(), self._space(X, reset=True)
        about = f"n_samples={space.n_samples}, n_features={space.feature_dim}"
        with value_errors(about):
            recipe = Recipe.of(self.method, self.preset).changed(self._given())
            fitted = fit_and_score((space,), recipe, seed, device=resolve_device(self.device))
        result = fitted.result
        self.labels_, self.confidence_ = result.assignments, result.confidence
        self.head_labels_, self.history_ = result.head_assignments, result.history
        self.model_, self.report_, self.seed_ = result.model, fitted.report, seed
        self.levels_ = fitted.levels
        self._fitted_on, self._n_features_out = fingerprint(space), result.model.n_clusters
        fewer = result.model.n_clusters < recipe.n_clusters
        missing = [fewer_clusters(result.model.n_clusters, recipe.n_clusters)] if fewer else []
        for warning in (*missing, *warnings_of(fitted.report)):
            warnings.warn(warning, ConvergenceWarning, stacklevel=2)
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:
        """The cluster of each sample, int64 (n_samples,)."""
        self._check_fitted()
        return self._model().assign(self._space(X, reset=False)).clusters

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Cluster probabilities, float32 (n_samples, n_clusters): the mean over the heads that are used."""
        self._check_fitted()
        return self._model().mean_probs(self._space(X, reset=False)).numpy()

    def cut(self, n_groups: int) -> NDArray[np.int64]:
        """Groups of the fitted samples after clusters have joined to `n_groups`, int64 (n_samples,).

        A group of several clusters has the label of the one with the most samples.

        Args:
            n_groups: Number of groups, from 1 to the number of clusters that have samples.

        Raises:
            ValueError: There is no such level.
        """
        self._check_fitted()
        ids = np.unique(self.labels_).tolist()
        with value_errors():
            group_of = (self.levels_ or Levels()).cut(check_whole("n_groups", n_groups), ids)
        return np.array([group_of[label] for label in self.labels_.tolist()], np.int64)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """The same as `predict_proba`: one column per cluster. (Other clusterers return distances.)"""
        return self.predict_proba(X)

    def _space(self, X: Any, *, reset: bool) -> Features:
        """X as features without labels; checked, and compared with the fitted features (unless `reset`)."""
        if not isinstance(X, str | os.PathLike | Features):
            with scikit_learn_errors():
                array = validate_data(self, _as_numpy(X), reset=reset, dtype=(np.float32, np.float64))
            with value_errors():
                return Features.from_array(array)
        with value_errors():
            space = X if isinstance(X, Features) else load_spaces([Path(X)])[0]
            own = fingerprint(space)
            # The origin of an array is unknown, so it cannot be compared. Rows are always checked, as another program
            # may have written the file.
            check_alike([own if reset or not (self._fitted_on["path"] and own["path"]) else self._fitted_on], [space])
        if reset:
            self.n_features_in_ = space.feature_dim
            self.__dict__.pop("feature_names_in_", None)
        elif space.feature_dim != self.n_features_in_:
            subject = f"X has {space.feature_dim} features, but {type(self).__name__}"
            raise InputError(f"{subject} is expecting {self.n_features_in_} features as input.")
        return replace(space, labels=None, class_names=())

    def _model(self) -> ClusterModel:
        """The fitted model on the device to compute on."""
        with value_errors():
            return self.model_.to(resolve_device(self.device))

    def _check_fitted(self) -> None:
        with scikit_learn_errors():
            check_is_fitted(self)

    def _given(self) -> dict[str, Any]:
        """Settings that differ from the preset's.

        Raises:
            InputError: A parameter has the wrong type, or is given twice with different values.
        """
        check_kind("settings", self.settings, (Mapping, type(None)), "a mapping from names to values, or None")
        given = dict(self.settings or {})
        for name in given:
            check_kind("a name in settings", name, str, "a text")
        own = {"n_clusters": check_whole("n_clusters", self.n_clusters)}
        if self.n_heads is not None:
            own["n_heads"] = check_whole("n_heads", self.n_heads)
        for name, value in own.items():
            if given.get(name, value) != value:
                raise InputError(f"{name} is {value!r}, and {given[name]!r} in settings: give it once.")
        return {**given, **own}

    def _seed(self) -> int:
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31 - 1))
        if self.random_state is None:
            return int(np.random.SeedSequence().generate_state(1)[0])  # NumPy's global generator is not touched
        return check_whole("random_state", self.random_state, least=0)

    def _repr_html_inner(self) -> str:
        diagram = str(estimator_html_repr(self))
        if not hasattr(self, "labels_"):
            return diagram
        return diagram + summary(self.labels_, self.confidence_, self.report_)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] = self._repr_html_inner()
        return bundle


def _as_numpy(X: Any) -> Any:
    """A tensor as an array, with types that NumPy lacks as float32; everything else unchanged."""
    dtypes = [X.dtype] if isinstance(X, np.ndarray) else getattr(X, "dtypes", ())
    if any(getattr(dtype, "kind", "") in ("m", "M") for dtype in dtypes):
        raise InputTypeError("X holds dates or times, which scikit-learn would take for numbers: expected numbers.")
    if not isinstance(X, torch.Tensor):
        return X
    if X.layout is not torch.strided:
        raise InputError("X is a sparse tensor: expected a dense one, X.to_dense().")
    X = X.detach().cpu()
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()
