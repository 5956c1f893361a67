"""Every controller, one line each. A test fails when a file in `controllers/` is missing here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgekube.control.config import Config
from edgekube.reconcile.drive import Controller, Service

CONTROLLERS = (
    "bootstrapsigner",
    "cronjob",
    "csrapproving",
    "csrcleaner",
    "csrsigning",
    "daemonset",
    "defaultclass",
    "deployment",
    "disruption",
    "endpoints",
    "endpointslice",
    "endpointslicemirroring",
    "ephemeralvolume",
    "garbagecollector",
    "job",
    "jobpods",
    "kubernetes_service",
    "localpath",
    "manifests",
    "namespace",
    "nodehealth",
    "nodeipam",
    "nodettl",
    "podautoscaler",
    "podgc",
    "policytypes",
    "replicaset",
    "replicationcontroller",
    "rootca",
    "serviceaccount",
    "serviceaddresses",
    "servicecidrs",
    "statefulset",
    "tainteviction",
    "tokencleaner",
    "ttlafterfinished",
    "volumebinder",
    "volumeprotection",
)


def load(config: Config) -> list[Controller[Any] | Service]:
    """All controllers, made for this configuration."""
    return [import_module(f"edgekube.control.controllers.{name}").controller(config) for name in CONTROLLERS]
