"""Lines of results files, made by hand."""

SCORES = ("accuracy", "nmi", "ami", "ari")


def fit_line(method="temi", accuracy=0.5, **more):
    """A fit that came to an end; all its scores are multiples of its accuracy."""
    line = {
        "format": "headclust-results",
        "version": 1,
        "kind": "fit",
        "status": "done",
        "key": "0" * 64,
        "error": None,
        "study": "offline",
        "backbone": "efficientnet_lite0",
        "dataset": "digits",
        "fit_split": "train",
        "eval_split": "test",
        "text_supervised": False,
        "imagenet_labels": True,
        "preprocessing": None,
        "feature_point": "pool",
        "resolution": 128,
        "feature_dim": 1280,
        "n_views": 2,
        "fit_samples": 1437,
        "eval_samples": 360,
        "n_classes": 10,
        "features": {"fit": {"path": "a", "sha256": "0"}, "eval": {"path": "b", "sha256": "1"}},
        "versions": {"headclust": "0.1.0"},
        "device": "cpu",
        "threads": 2,
        "role": "main",
        "curve": None,
        "value": None,
        "method": method,
        "preset": "ours",
        "seed": 0,
        "settings": {},
        "n_clusters": 10,
        "head_choice": "lowest training loss",
        "scores": {
            "n_samples": 360,
            "clusters_used": 9,
            **{name: accuracy * share for name, share in zip(SCORES, (1, 0.9, 0.8, 0.7), strict=True)},
        },
        "oracle": None,
        "seconds": {"neighbors": None, "fit": 12.5},
        "steps": None,
        "assignments": None,
    }
    line |= more
    place = [line[name] for name in ("backbone", "dataset", "method", "preset")]
    changed = [f"{name}={value}" for name, value in line["settings"].items()]
    line.setdefault("id", "/".join([*place, f"s{line['seed']}", *changed]))
    return line


def failed_line(method="temi", error="the loss stopped being finite.", **more):
    nothing = dict.fromkeys(("scores", "seconds", "steps", "oracle", "assignments", "feature_point", "features"))
    return fit_line(method, **nothing, status="failed", error=error, **more)


def probe_line(**more):
    scores = {"knn_accuracy": 0.9, "linear_accuracy": 0.95, "neighbor_purity": 0.6}
    line = fit_line(**{"kind": "probes", "scores": scores, **more})
    return {**line, "id": f"{line['backbone']}/{line['dataset']}/probes"}


def point_line(curve, value, accuracy, **more):
    return fit_line(accuracy=accuracy, role="ablation", curve=curve, value=value, settings={curve: value}, **more)
