"""Images of languages, chosen by one command, and the credentials that images are pulled with."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox_client import ApiError, NeverReady, blocking
from sandbox_protocol import names
from tests.harness.cluster import Cluster

GO = """package main

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Go ", runtime.Version()) })
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
"""
BUN = "Bun.serve({port: process.env.PORT, fetch: () => new Response(`Bun ${Bun.version}`)})"
ADDON = """#include <node_api.h>
static napi_value init(napi_env env, napi_value exports) { napi_value v; napi_create_uint32(env, 42, &v); return v; }
NAPI_MODULE(addon, init)
"""
GYP = '{"targets": [{"target_name": "addon", "sources": ["addon.c"]}]}'


@pytest.fixture(scope="module")
def offered(cluster: Cluster) -> set[str]:
    """Languages of the development template."""
    found = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"].get("languages", [])
    if not found:
        pytest.skip("no image of a language is loaded: make language-images deploy")
    return {entry["name"] for entry in found}


def until(happened: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + 120
    while not (found := happened()):
        assert time.monotonic() < end, what
        time.sleep(0.5)
    return found


def switched(sandbox: blocking.Sandbox, language: str, repository: str) -> None:
    sandbox.use(language)
    until(lambda: repository in sandbox.refresh().get("status", {}).get("image", ""), f"no pod with {repository}")


def answer(sandbox: blocking.Sandbox) -> str:
    sandbox.wait_app(timeout=300)
    return sandbox.proxy().body.decode()


@pytest.mark.parametrize(
    ("language", "command", "files"),
    [
        ("go", ["go", "run", "."], {"go.mod": "module shop\n\ngo 1.26\n", "main.go": GO}),
        ("bun", ["bun", "run", "server.ts"], {"server.ts": BUN}),
    ],
)
def test_an_app_runs_in_the_image_of_its_language_after_one_command(
    client: blocking.Client, offered: set[str], language: str, command: list[str], files: dict[str, str]
) -> None:
    assert language in offered
    sandbox = client.apply(f"shop-{language}", {"command": command})
    sandbox.wait_ready()
    assert {one.name for one in sandbox.languages()} == offered
    sandbox.sync(files)
    switched(sandbox, language, f"sandbox-{language}@sha256:")
    assert answer(sandbox).lower().startswith(f"{language} ")
    sandbox.use(None)
    until(lambda: "sandbox-runner@sha256:" in sandbox.refresh()["status"]["image"], "the default image does not come back")


def test_a_native_addon_is_compiled_in_the_image_with_compilers_without_a_download(
    client: blocking.Client, offered: set[str]
) -> None:
    assert "build" in offered
    sandbox = client.apply("addon", {"command": ["sleep", "1000"], "language": "build"})
    sandbox.wait_ready()
    package = {"name": "addon", "version": "1.0.0", "gypfile": True, "scripts": {"install": "node-gyp rebuild"}}
    sandbox.sync({"addon/package.json": json.dumps(package), "addon/binding.gyp": GYP, "addon/addon.c": ADDON})
    built = sandbox.exec("sh", "-c", "cd addon && npm install && node -p 'require(\"./build/Release/addon.node\")'")
    assert built.exit_code == 0, built.stderr.decode()
    assert built.stdout.decode().split()[-1] == "42"


def test_a_language_that_the_template_does_not_have_is_refused_with_those_it_has(
    client: blocking.Client, offered: set[str]
) -> None:
    with pytest.raises(NeverReady, match=f"no image for cobol; it has .*{sorted(offered)[0]}"):
        client.apply("cobol", {"language": "cobol"}).wait_ready()


def test_an_image_and_a_language_are_not_given_together(client: blocking.Client) -> None:
    with pytest.raises(ApiError, match="give image or language, not both"):
        client.apply("both", {"language": "go", "image": "registry.test/go"})


@pytest.fixture
def pulling(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A copy of the default template that names a Secret to pull with, and the registry that it is for."""
    name, registry = f"pulling-{secrets.token_hex(3)}", "registry.test"
    where = f"--namespace={names.SYSTEM_NAMESPACE}"
    cluster.kubectl(
        "create",
        "secret",
        "docker-registry",
        names.PULL_SECRET,
        where,
        f"--docker-server={registry}",
        "--docker-username=u",
        "--docker-password=p",
    )
    spec = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]
    spec["imagePullSecrets"] = [{"name": names.PULL_SECRET}]
    api = f"{names.GROUP}/{names.VERSION}"
    cluster.apply({"apiVersion": api, "kind": names.TEMPLATE_KIND, "metadata": {"name": name}, "spec": spec})
    yield name, registry
    cluster.kubectl("delete", "sandboxtemplate", name)
    cluster.kubectl("delete", "secret", names.PULL_SECRET, where, "--ignore-not-found")


def test_the_pod_is_pulled_with_the_templates_credentials_which_the_app_does_not_have(
    cluster: Cluster, client: blocking.Client, pulling: tuple[str, str]
) -> None:
    template, registry = pulling
    sandbox = client.apply("pulled", {"templateRef": {"name": template}, "command": ["sleep", "1000"]})
    sandbox.wait_ready()
    runtime = cluster.refs(sandbox).namespace
    pod = cluster.get("pod", cluster.pod(sandbox), f"--namespace={runtime}")["spec"]
    assert pod["imagePullSecrets"] == [{"name": names.PULL_SECRET}]
    assert names.PULL_SECRET not in json.dumps([pod["containers"], pod["initContainers"], pod["volumes"]])
    copy = cluster.get("secret", names.PULL_SECRET, f"--namespace={runtime}")
    assert copy["type"] == "kubernetes.io/dockerconfigjson"
    assert [*json.loads(base64.b64decode(copy["data"][".dockerconfigjson"]))["auths"]] == [registry]
    cluster.kubectl("patch", "sandboxtemplate", template, "--type=merge", "--patch", '{"spec":{"imagePullSecrets":null}}')
    until(
        lambda: (
            not cluster.kubectl("get", "secret", names.PULL_SECRET, f"--namespace={runtime}", "--ignore-not-found", "-o=name")
        ),
        "the copy stays although the template names it no more",
    )


def test_credentials_that_may_not_be_read_are_told_with_the_commands_that_allow_it(
    cluster: Cluster, client: blocking.Client, pulling: tuple[str, str]
) -> None:
    template, _ = pulling
    wish = '{"spec":{"imagePullSecrets":[{"name":"others"}]}}'
    cluster.kubectl("patch", "sandboxtemplate", template, "--type=merge", "--patch", wish)
    with pytest.raises(NeverReady, match="kubectl create role image-pull-others --namespace=sandbox-system --verb=get"):
        client.apply("forbidden", {"templateRef": {"name": template}}).wait_ready()
