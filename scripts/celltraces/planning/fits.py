"""Resolve the fits that the configuration asks for: the column of the traces, the model, its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celltraces.config.stage_settings import digests
from celltraces.errors import UserError
from celltraces.planning.channels import channel_index, channels_of, features_of
from celltraces.planning.dataset import Dataset


def fits_of(config: Mapping[str, Any], datasets: Mapping[str, Dataset]) -> dict[tuple[str, str], dict[str, Any]]:
    """What is fitted: (column of the traces, name of the model) -> settings, all parameters of the model among them.

    Raises UserError with one line for the first mistake.
    """
    if not config["fits"]:
        return {}
    from celltraces.kinetics import models

    pc, fl = channels_of(datasets)
    if pc is None or config["params"]["copy_only"]:
        raise UserError("fits: there are no traces to fit; name a phase-contrast channel and leave out copy_only")
    if not config["samples"]:
        raise UserError(
            "fits: there are no merged tables to fit; name samples, for example samples: [{name: all, fovs: all}]"
        )
    dataset = next(iter(datasets.values()))
    features = dict(features_of(config, pc, fl))
    fits: dict[tuple[str, str], dict[str, Any]] = {}
    for at, fit in enumerate(config["fits"]):
        key = f"fits.{at}"
        channel = channel_index(fit["channel"], dataset.movie, f"{key}.channel", dataset.path)
        if channel not in features:
            known = ", ".join(map(str, features))
            raise UserError(f"{key}.channel: channel {channel} is not processed; the config's channels are {known}")
        if fit["feature"] not in features[channel]:
            known = ", ".join(features[channel]) or "none"
            raise UserError(
                f"{key}.feature: {fit['feature']!r} is not extracted from channel {channel}; there: {known}; "
                "add it to the channel's features"
            )
        model = models.find_model(fit["model"], f"{key}.model")
        fitted = models.with_settings(model, fit["parameters"], f"{key}.parameters")
        settings: dict[str, Any] = {"model": fit["model"], "parameters": models.parameter_settings(fitted)}
        if fit["model"] not in models.MODELS:
            settings["files"] = digests([fit["model"].rpartition(":")[0]])
        what = f"{fit['feature']}_ch_{channel}", model.name
        if what in fits:
            raise UserError(f"{key}: {model.name} is fitted to {what[0]} twice; leave one out")
        fits[what] = settings
    return fits
