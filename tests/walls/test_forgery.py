"""Somebody pretends: to be the API server or another user, to own a runtime, to hold a session of a preview."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from devcluster import net
from devcluster.kubectl import KubectlError
from sandbox_client import Forbidden, Impersonation, InvalidName, blocking
from sandbox_client.api import Api, Request, json_request, path
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness import rbac
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory, UserFactory
from tests.harness.impostors import FORGED, around
from tests.harness.preview import Visitor, browserlike
from tests.walls.frame import Outcome, Walls, stopped, through

MINE, VICTIMS = "mine, says the app", "the victim's own"


def runner_path(group: str, sandbox: blocking.Sandbox, *below: str) -> str:
    return path("apis", group, names.VERSION, "namespaces", sandbox.namespace, names.PLURAL, sandbox.name, *below)


def asked(connection: Connection, request: Request) -> Outcome:
    """Through with any answer of success; else its code."""

    async def code() -> int:
        async with Api(connection) as api:
            answer = await api.exchange(request)
            answer.release()
            return answer.status

    status = asyncio.run(code())
    return through(str(status)) if status < 300 else stopped(str(status))


@pytest.fixture(scope="module")
def mine(make_runner: RunnerFactory) -> blocking.Sandbox:
    return serving(make_runner, "mine", MINE)


@pytest.fixture(scope="module")
def victim(make_runner: RunnerFactory) -> blocking.Sandbox:
    return serving(make_runner, "victim", VICTIMS)


def serving(make_runner: RunnerFactory, name: str, words: str) -> blocking.Sandbox:
    sandbox = make_runner(name)
    sandbox.sync({"words.txt": words})
    sandbox.wait_app()
    return sandbox


# --- whoever is called somebody in a header


@pytest.mark.skipif(not net.complete(), reason="the node is not on this machine")
@pytest.mark.parametrize("who", [who for who in rbac.OUTSIDERS if "forged" in who])
def test_headers_name_a_user_to_us_from_the_api_server_alone(
    walls: Walls, cluster: Cluster, victim: blocking.Sandbox, who: str, tmp_path: Path
) -> None:
    requests = [
        ("GET", runner_path(names.SUBRESOURCE_GROUP, victim, "status")),
        ("POST", runner_path(names.SUBRESOURCE_GROUP, victim, "exec") + "?command=true&stdout=true"),
    ]

    def inside() -> Outcome:
        codes = set(around(cluster, who, requests, tmp_path))
        refused = all(code == "401" or code.startswith("no TLS") for code in codes)
        return stopped("401 or no TLS" if "stranger" in who else "401") if refused else through(" ".join(sorted(codes)))

    walls.refuse(
        f"straight to our API server: {who}",
        wall="certificate of the front proxy",
        inside=inside,
        outside=lambda: asked(cluster.admin, Request("GET", requests[0][1])),
    )


NAMING = {
    "X-Remote-* of an administrator, through the API server": FORGED,
    "Impersonate-* of an administrator, through the API server": {
        "Impersonate-User": "system:admin",
        "Impersonate-Group": "system:masters",
    },
}


@pytest.mark.parametrize("attack", NAMING)
def test_headers_make_nobody_another_user(
    walls: Walls, cluster: Cluster, user: UserFactory, victim: blocking.Sandbox, attack: str
) -> None:
    nobody = user([])
    request = Request("GET", runner_path(names.SUBRESOURCE_GROUP, victim, "status"), headers=NAMING[attack])
    walls.refuse(attack, wall="API server", inside=lambda: asked(nobody, request), outside=lambda: asked(cluster.admin, request))


# --- forged status and objects


def patch_status(connection: Connection, sandbox: blocking.Sandbox, status: Any) -> Outcome:
    where = runner_path(names.GROUP, sandbox, "status")
    return asked(connection, json_request("PATCH", where, {"status": status}, content_type="application/merge-patch+json"))


@pytest.mark.parametrize("role", ["edit", "admin"])
def test_no_user_writes_a_status(walls: Walls, cluster: Cluster, user: UserFactory, mine: blocking.Sandbox, role: str) -> None:
    forged = {"observedGeneration": 1}
    walls.refuse(
        f"a user with the role {role} writes the status",
        wall="RBAC",
        inside=lambda: patch_status(user(role), mine, forged),
        outside=lambda: patch_status(cluster.admin, mine, forged),
    )


def test_a_forged_status_leads_nowhere(walls: Walls, cluster: Cluster, mine: blocking.Sandbox, victim: blocking.Sandbox) -> None:
    """Asked at once and again and again, before and after the controller puts the status right."""
    refs = cluster.refs(victim)
    forged = {
        "refs": {"namespace": refs.namespace, "controlService": "control", "controlSecret": "control"},
        "preview": {"host": refs.public_host(3000, "preview.localhost")},
    }

    def read(sandbox: blocking.Sandbox) -> Outcome:
        for _ in range(10):
            if sandbox.read("words.txt") == {"words.txt": VICTIMS.encode()}:
                return through("the victim's files")
        return stopped("its own files")

    def inside() -> Outcome:
        assert patch_status(cluster.admin, mine, forged).through
        elsewhere = refs.preview_id in mine.preview().url
        return through("the victim's preview") if elsewhere else read(mine)

    walls.refuse(
        "the administrator: a status that names another runner's runtime",
        wall="names computed from the UID",
        inside=inside,
        outside=lambda: read(victim),
    )


def refused_or_done(run: Callable[[], Any], words: str) -> Outcome:
    try:
        run()
    except KubectlError as error:
        if words not in str(error):
            raise
        return stopped("403, the policy's words")
    return through("done")


def test_nobody_lays_out_a_runtime_beforehand(walls: Walls, cluster: Cluster) -> None:
    def made(name: str) -> Outcome:
        words = "made by the sandbox controller alone"
        return refused_or_done(lambda: cluster.kubectl("create", "namespace", name, "--dry-run=server"), words)

    walls.refuse(
        "the administrator: make a namespace named like a runtime",
        wall="ValidatingAdmissionPolicy `sandbox-namespaces`",
        inside=lambda: made(f"sandbox-{uuid.uuid4()}"),
        outside=lambda: made(f"no-wall-{secrets.token_hex(3)}"),
    )


def test_nobody_makes_another_namespace_a_runtime(
    walls: Walls, cluster: Cluster, namespace: str, victim: blocking.Sandbox
) -> None:
    def labelled(label: str) -> Outcome:
        return refused_or_done(
            lambda: cluster.kubectl("label", "namespace", namespace, f"{label}={cluster.refs(victim).uid}"),
            "set by the sandbox controller alone",
        )

    walls.refuse(
        "the administrator: label another namespace as a runner's",
        wall="ValidatingAdmissionPolicy `sandbox-namespaces`",
        inside=lambda: labelled(names.LABEL_RUNNER_UID),
        outside=lambda: labelled("another.test/label"),
    )


def test_a_runner_does_not_choose_its_uid(walls: Walls, cluster: Cluster, namespace: str, victim: blocking.Sandbox) -> None:
    uid = cluster.refs(victim).uid
    body = {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": "SandboxRunner",
        "metadata": {"name": "forged", "namespace": namespace, "uid": uid},
        "spec": {},
    }

    def inside() -> Outcome:
        made = cluster.create(body)
        cluster.kubectl("delete", "sandboxrunner", "forged", f"--namespace={namespace}", "--wait=false")
        return through("took it") if made["metadata"]["uid"] == uid else stopped("got one of its own")

    walls.refuse(
        "the administrator: a runner with the UID of another",
        wall="API server",
        inside=inside,
        outside="no object chooses its UID",
    )


# --- an app that answers for our API


def test_an_app_does_not_answer_for_our_api(
    walls: Walls, cluster: Cluster, client: blocking.Client, make_runner: RunnerFactory
) -> None:
    liar = make_runner("liar")
    liar.sync({"status": json.dumps({"revision": MINE})})
    liar.wait_app()

    def told() -> Outcome:
        """The API server decodes the slash, so that the path is one of the app's."""
        try:
            status = client.sandbox(f"{liar.name}/proxy").status()
        except InvalidName:
            return stopped("refused before it is sent")
        return through("the app's words") if status.revision == MINE else stopped("the agent's words")

    def escaped() -> Outcome:
        where = runner_path(names.SUBRESOURCE_GROUP, liar).removesuffix(liar.name) + f"{liar.name}%2Fproxy/status"

        async def read() -> str:
            async with Api(cluster.admin) as api, api.open(Request("GET", where)) as answer:
                return await answer.text()

        return through("the app's words") if MINE in asyncio.run(read()) else stopped("the agent's words")

    walls.refuse(
        "an app: its own answer for a status, by a name with a slash in it",
        wall="names checked in the client",
        inside=told,
        outside=escaped,
    )


# --- whom a kubeconfig acts as


@pytest.mark.parametrize("verb", ["status", "exec"])
def test_a_kubeconfig_that_acts_as_another_has_no_more_rights(
    walls: Walls, cluster: Cluster, victim: blocking.Sandbox, verb: str
) -> None:
    def used(impersonation: Impersonation) -> Outcome:
        with blocking.Client(replace(cluster.admin, impersonation=impersonation), namespace=victim.namespace) as client:
            sandbox = client.sandbox(victim.name)
            try:
                if verb == "exec":
                    sandbox.exec("true")
                else:
                    sandbox.status()
            except Forbidden:
                return stopped("403")
        return through("done as the administrator")

    walls.refuse(
        f"a person whose kubeconfig says `as:` somebody without a right, {verb}",
        wall="impersonation is sent",
        inside=lambda: used(Impersonation("nobody-in-particular")),
        outside=lambda: used(Impersonation()),
    )


# --- previews


@dataclass(frozen=True)
class Visits:
    """``signed`` URLs and cookies of sessions, used where and when they should not be."""

    signed: str

    @staticmethod
    def get(visitor: Visitor, target: str = "/words.txt") -> Outcome:
        async def visit() -> int:
            async with browserlike() as http, http.get(visitor.origin / target[1:], headers=visitor.headers) as answer:
                return answer.status

        code = asyncio.run(visit())
        return through(str(code)) if code == 200 else stopped(str(code))

    def enter(self, *, host: str | None = None) -> tuple[Outcome, Visitor]:
        """With the token of the URL, at its own host or at another's."""
        visitor = Visitor(self.signed)
        if host is not None:
            visitor.headers["Host"] = host

        async def visit() -> int:
            async with browserlike() as http:
                return (await visitor.enter(http))[0].status

        code = asyncio.run(visit())
        return (through if code == 302 else stopped)(str(code)), visitor


def changed(signed: str, **claims: Any) -> str:
    """The URL with other claims under the old signature."""
    front, _, token = signed.partition("sandbox_token=")
    head, payload, signature = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps({**told, **claims}).encode()).rstrip(b"=").decode()
    return f"{front}sandbox_token={head}.{forged}.{signature}"


def unsigned(signed: str) -> str:
    """The URL with a token that says it needs no signature."""
    front, _, token = signed.partition("sandbox_token=")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    return f"{front}sandbox_token={head}.{token.split('.')[1]}."


GATEWAY = "gateway"


def test_a_signed_url_opens_no_other_runner(walls: Walls, mine: blocking.Sandbox, victim: blocking.Sandbox) -> None:
    there = Visitor(victim.preview().url).headers["Host"]
    visits = Visits(mine.preview().url)
    walls.refuse(
        "a signed URL's token at the host of another runner",
        wall=GATEWAY,
        inside=lambda: visits.enter(host=there)[0],
        outside=lambda: visits.enter()[0],
    )


def test_a_session_opens_no_other_runner(walls: Walls, mine: blocking.Sandbox, victim: blocking.Sandbox) -> None:
    there = Visitor(victim.preview().url).headers["Host"]
    visitor = Visits(mine.preview().url).enter()[1]

    def inside() -> Outcome:
        own = dict(visitor.headers)
        visitor.headers["Host"] = there
        found = Visits.get(visitor)
        visitor.headers.update(own)
        return found

    walls.refuse(
        "the cookie of a session at the host of another runner",
        wall=GATEWAY,
        inside=inside,
        outside=lambda: Visits.get(visitor),
    )


def test_other_claims_under_an_old_signature_are_not_believed(
    walls: Walls, cluster: Cluster, mine: blocking.Sandbox, victim: blocking.Sandbox
) -> None:
    signed = mine.preview().url
    host = Visitor(victim.preview().url).headers["Host"]
    forged = changed(signed, aud=host.partition(":")[0], uid=cluster.refs(victim).uid, name=victim.name)
    walls.refuse(
        "a signed URL with the claims of another runner under the old signature",
        wall=GATEWAY,
        inside=lambda: Visits(forged).enter(host=host)[0],
        outside=lambda: Visits(signed).enter()[0],
    )


def test_a_token_that_says_it_needs_no_signature_is_not_believed(walls: Walls, mine: blocking.Sandbox) -> None:
    signed = mine.preview().url
    walls.refuse(
        "a signed URL whose token says that it needs no signature",
        wall=GATEWAY,
        inside=lambda: Visits(unsigned(signed)).enter()[0],
        outside=lambda: Visits(signed).enter()[0],
    )


def test_what_was_revoked_is_not_replayed(walls: Walls, mine: blocking.Sandbox) -> None:
    visits = Visits(mine.preview().url)
    before, visitor = visits.enter()
    session = Visits.get(visitor)
    mine.revoke_previews()
    after, session_after = visits.enter()[0], Visits.get(visitor)
    walls.refuse("a signed URL after the previews were revoked", wall=GATEWAY, inside=lambda: after, outside=lambda: before)
    walls.refuse(
        "the cookie of a session after the previews were revoked",
        wall=GATEWAY,
        inside=lambda: session_after,
        outside=lambda: session,
    )


def test_what_a_user_lost_is_not_replayed(walls: Walls, cluster: Cluster, namespace: str, mine: blocking.Sandbox) -> None:
    name = f"leaver-{secrets.token_hex(3)}"
    with blocking.Client(cluster.user(namespace, name, "edit")) as leaver:
        visits = Visits(leaver.sandbox(mine.name).preview().url)
    before, visitor = visits.enter()
    cluster.kubectl("delete", "rolebinding", name, f"--namespace={namespace}")

    def inside() -> Outcome:
        """The gateway asks again every 15 s."""
        end = time.monotonic() + 25
        while (found := Visits.get(visitor)).through and time.monotonic() < end:
            time.sleep(1)
        again = visits.enter()[0]
        return found if found.through or again.through else stopped("403")

    walls.refuse(
        "a signed URL and its session after the user lost the right, 15 s later at most",
        wall=GATEWAY,
        inside=inside,
        outside=lambda: before,
    )


def test_a_preview_outlives_no_runner(walls: Walls, make_runner: RunnerFactory) -> None:
    first = serving(make_runner, "again", VICTIMS)
    visits = Visits(first.preview().url)
    before, visitor = visits.enter()
    first.delete()
    serving(make_runner, "again", MINE)
    walls.refuse(
        "a signed URL and its session at a later runner of the same name",
        wall=GATEWAY,
        inside=lambda: next((got for got in (visits.enter()[0], Visits.get(visitor)) if got.through), stopped("404")),
        outside=lambda: before,
    )


def test_a_preview_token_is_none_of_kubernetes(walls: Walls, cluster: Cluster, mine: blocking.Sandbox) -> None:
    token = mine.preview().url.partition("sandbox_token=")[2]
    as_user = replace(cluster.admin, client_cert=None, client_key=None, token=token)
    request = Request("GET", runner_path(names.SUBRESOURCE_GROUP, mine, "status"))
    walls.refuse(
        "a preview's token as a bearer token of the Kubernetes API",
        wall="API server",
        inside=lambda: asked(as_user, request),
        outside=lambda: asked(cluster.admin, request),
    )
