"""What a process shall run, and which changed files concern it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

CONFIGURATION = frozenset(
    [
        "package.json",
        ".npmrc",
        ".yarnrc",
        ".yarnrc.yml",
        "pnpm-workspace.yaml",
        "pnpm-lock.yaml",
        "yarn.lock",
        "bun.lock",
        "bun.lockb",
        "package-lock.json",
        "bunfig.toml",
        "npm-shrinkwrap.json",
        ".nvmrc",
        ".node-version",
        "nodemon.json",
        "turbo.json",
        "nx.json",
        "project.json",
        "angular.json",
        "nest-cli.json",
        "vue.config.js",
        "craco.config.js",
        "tsconfig.json",
        "jsconfig.json",
        ".babelrc",
        ".browserslistrc",
        "gatsby-config.js",
        "gatsby-config.ts",
        "gatsby-node.js",
        "gatsby-node.ts",
        "app.json",
        "requirements.txt",
        "requirements-dev.txt",
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "uv.lock",
        "poetry.lock",
        "Pipfile",
        "Pipfile.lock",
        "environment.yml",
        ".python-version",
        "Procfile",
        "go.mod",
        "go.sum",
        "Cargo.toml",
        "Cargo.lock",
        "Gemfile",
        "Gemfile.lock",
        "composer.json",
        "composer.lock",
        "deno.json",
        "deno.jsonc",
        "deno.lock",
        "pom.xml",
        "mix.exs",
    ]
)
_CONFIGURATION = re.compile(
    r"(vite|vitest|next|nuxt|astro|svelte|react-router|remix|app|webpack|rspack|rsbuild|postcss|tailwind|babel|rollup|uno|mdx|qwik|docusaurus"
    r"|quasar|gatsby|metro|farm|tsup|nitro)\.config\.[cm]?[jt]s"
    r"|\.env(\.[\w-]+)*|\.?eleventy(\.config)?\.[cm]?js|tsconfig\.\w+\.json|build\.gradle(\.kts)?|[\w.-]+\.(csproj|fsproj)"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """``env``: variables beside the process's own. ``reloads``: the program is known to see changed files by itself.
    ``framework`` is a short word for status, ``shown`` the command as people wrote it.

    ``restart_suffixes``: endings of files that the program reads only when it starts. ``restart_below``: the files and folders
    (with a ``/`` at the end) in which those count; empty for the whole tree.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    restart_suffixes: tuple[str, ...] = ()
    reloads: bool = False
    framework: str = ""
    shown: str = ""
    restart_below: tuple[str, ...] = ()

    def triggered_by(self, changed: Sequence[str]) -> bool:
        """Whether a sync that changed these paths needs a restart."""
        return any(is_configuration(path) or self._read_once(path) for path in changed)

    def _read_once(self, path: str) -> bool:
        if not self.restart_suffixes or not path.endswith(self.restart_suffixes):
            return False
        return not self.restart_below or any(
            path.startswith(part) if part.endswith("/") else path == part for part in self.restart_below
        )


class NoCommandError(Exception):
    """Nothing in the tree says what to run; the message says what would.

    ``language`` is the one of the project when this image may have no program for it: go, rust, ruby, php, java, deno, bun,
    dotnet, elixir, or "". ``step`` is the next step, when it is a sentence of its own.
    """

    def __init__(self, what: str, language: str = "", step: str = "") -> None:
        super().__init__(f"{what}. {step}" if step else what)
        self.what = what
        self.language = language


def with_image(error: NoCommandError, languages: Collection[str]) -> NoCommandError:
    """The same error with its next step, when the runner's template has an image for the language (its name in ``languages``)."""
    if error.language not in languages:
        return error
    step = f"Switch to the image that has it: kubectl sandbox use NAME {error.language}"
    return NoCommandError(error.what, error.language, step)


def is_configuration(path: str) -> bool:
    """Manifests, lock files and configuration at any depth: dev servers read them once, when they start."""
    name = path.rpartition("/")[2]
    return name in CONFIGURATION or _CONFIGURATION.fullmatch(name) is not None


def variables(port: int | None) -> dict[str, str]:
    """What programs read that take no PORT. A browser is nowhere to be opened."""
    if port is None:
        return {"BROWSER": "none"}
    number, host = str(port), "0.0.0.0"  # noqa: S104 - in its pod
    return {
        "BROWSER": "none",
        "ASPNETCORE_URLS": f"http://{host}:{port}",
        "BUN_PORT": number,
        "BOKEH_PORT": number,
        "BOKEH_ALLOW_WS_ORIGIN": "*",
        "CHAINLIT_PORT": number,
        "CHAINLIT_HOST": host,
        "DENO_SERVE_ADDRESS": f"tcp:{host}:{port}",
        "FLASK_RUN_PORT": number,
        "FLASK_RUN_HOST": host,
        "FLET_FORCE_WEB_SERVER": "true",
        "FLET_SERVER_PORT": number,
        "FLET_SERVER_IP": host,
        "GRADIO_SERVER_PORT": number,
        "GRADIO_SERVER_NAME": host,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "NITRO_PORT": number,
        "NITRO_HOST": host,
        "NUXT_PORT": number,
        "NUXT_HOST": host,
        "ROCKET_PORT": number,
        "ROCKET_ADDRESS": host,
        "STREAMLIT_SERVER_PORT": number,
        "STREAMLIT_SERVER_ADDRESS": host,
        "STREAMLIT_SERVER_HEADLESS": "true",
        "STREAMLIT_SERVER_RUN_ON_SAVE": "true",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        "UVICORN_PORT": number,
        "UVICORN_HOST": host,
    }
