"""What kubectl and the aggregator ask first: which groups, versions and resources are here. Pure, from the route table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sandbox_operator.apiserver.verb import API_VERSION, Verb
from sandbox_protocol import names

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def api_group() -> dict[str, Any]:
    version = {"groupVersion": API_VERSION, "version": names.VERSION}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": names.SUBRESOURCE_GROUP,
        "versions": [version],
        "preferredVersion": version,
    }


def api_group_list() -> dict[str, Any]:
    group = {key: value for key, value in api_group().items() if key not in {"kind", "apiVersion"}}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}


def api_resource_list(verbs: Iterable[Verb]) -> dict[str, Any]:
    """The parent resource comes with no verbs: its objects live in the other group, and clients must not list it here."""
    parent = {"name": names.PLURAL, "singularName": "sandboxrunner", "namespaced": True, "kind": names.KIND, "verbs": []}
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": API_VERSION,
        "resources": [
            parent,
            *(
                {
                    "name": f"{names.PLURAL}/{verb.name}",
                    "singularName": "",
                    "namespaced": True,
                    "kind": verb.kind,
                    "verbs": verb.actions,
                }
                for verb in verbs
            ),
        ],
    }


def aggregated(verbs: Iterable[Verb]) -> dict[str, Any]:
    """``APIGroupDiscoveryList`` of apidiscovery.k8s.io/v2: all of the above in one answer."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": names.SUBRESOURCE_GROUP, "creationTimestamp": None},
                "versions": [
                    {
                        "version": names.VERSION,
                        "freshness": "Current",
                        "resources": [
                            {
                                "resource": names.PLURAL,
                                "responseKind": _kind(names.KIND),
                                "scope": "Namespaced",
                                "singularResource": "sandboxrunner",
                                "verbs": [],
                                "subresources": [
                                    {"subresource": verb.name, "responseKind": _kind(verb.kind), "verbs": verb.actions}
                                    for verb in verbs
                                ],
                            }
                        ],
                    }
                ],
            }
        ],
    }


def _kind(kind: str) -> dict[str, str]:
    return {"group": names.SUBRESOURCE_GROUP, "version": names.VERSION, "kind": kind}


def wants_aggregated(accept: str) -> bool:
    """Whether an Accept header asks for the aggregated form, version v2, by any order of its parameters."""
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        if media == "application/json" and {"g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"} <= set(parameters):
            return True
    return False
