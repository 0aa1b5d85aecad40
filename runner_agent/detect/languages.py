"""Projects of languages that the default image does not bring: what they are known by, and how they are run where their image
is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner_agent.detect.plan import Plan, variables
from runner_agent.detect.programs import program_of
from runner_agent.detect.reading import Reader, text
from runner_agent.detect.shell import Command, words


@dataclass(frozen=True, slots=True)
class Language:
    """``name`` is the image's, ``said`` what people call it, ``files`` manifests at the top (a name that begins with ``.`` is
    an ending). ``sources`` are what the names of its programs end with, for a tree without a manifest."""

    name: str
    said: str
    files: tuple[str, ...]
    sources: tuple[str, ...] = ()


LANGUAGES = (
    Language("go", "Go", ("go.mod", "go.work"), (".go",)),
    Language("rust", "Rust", ("Cargo.toml",), (".rs",)),
    Language("ruby", "Ruby", ("Gemfile", "config.ru"), (".rb",)),
    Language("php", "PHP", ("composer.json", "artisan", "index.php", "public/index.php"), (".php",)),
    Language(
        "java",
        "Java",
        ("pom.xml", "build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"),
        (".java", ".kt"),
    ),
    Language("deno", "Deno", ("deno.json", "deno.jsonc", "deno.lock")),
    Language("bun", "Bun", ("bun.lock", "bun.lockb", "bunfig.toml")),
    Language("dotnet", ".NET", (".csproj", ".fsproj", ".sln"), (".cs", ".fs")),
    Language("elixir", "Elixir", ("mix.exs",), (".exs",)),
    Language("swift", "Swift", ("Package.swift",)),
    Language("dart", "Dart", ("pubspec.yaml",)),
    Language("scala", "Scala", ("build.sbt",)),
    Language("clojure", "Clojure", ("deps.edn", "project.clj")),
    Language("crystal", "Crystal", ("shard.yml",), (".cr",)),
    Language("zig", "Zig", ("build.zig",)),
    Language("perl", "Perl", ("cpanfile",), (".pl", ".psgi")),
    Language("r", "R", ("app.R", "server.R", "plumber.R")),
    Language("julia", "Julia", ("Manifest.toml",), (".jl",)),
    Language("haskell", "Haskell", ("stack.yaml", ".cabal")),
    Language("gleam", "Gleam", ("gleam.toml",)),
    Language("erlang", "Erlang", ("rebar.config",)),
    Language("elm", "Elm", ("elm.json",)),
    Language("hugo", "Hugo", ("hugo.toml", "hugo.yaml", "archetypes/default.md")),
    Language("ruby", "Jekyll (Ruby)", ("_config.yml",)),
    Language("quarto", "Quarto", ("_quarto.yml",)),
    Language("wasp", "Wasp", (".wasp",)),
)


def language_of(read: Reader) -> tuple[Language, str] | None:
    """The first language whose manifest lies at the top, else whose programs do, and that file's name."""
    there = read.names("")
    for language in LANGUAGES:
        for file in language.files:
            found = (
                [name for name in there if name.endswith(file)]
                if file.startswith(".")
                else [file]
                if read(file) is not None
                else []
            )
            if found:
                return language, found[0]
    for language in LANGUAGES:
        if language.sources and (found := [name for name in there if name.endswith(language.sources)]):
            return language, found[0]
    return None


def serves_pages_itself(read: Reader) -> bool:
    """Whether a package.json beside the manifest is there for the assets of another language's server: Laravel, Rails, Phoenix,
    Symfony."""
    return any(read(name) is not None for name in ("artisan", "config/application.rb", "bin/rails", "symfony.lock")) or (
        b":phoenix" in (read("mix.exs") or b"")
    )


_COMPILERS = frozenset(
    ("go", "cargo", "dotnet", "swift", "mvn", "mvnw", "gradle", "gradlew", "sbt", "lein", "clojure", "clj", "mix", "crystal")
)


def compiles(shown: str) -> bool:
    """Whether a command, as people see it, names a tool that builds a program before it runs it."""
    return any(word.rpartition("/")[2] in _COMPILERS for word in re.split(r"[\s;&|()'\"]+", shown))


def language_program(read: Reader) -> str | None:
    """The program that runs a project of such a language, such as ``go``; None for a tree without one."""
    found = language_of(read)
    command = _command(found[0].name, read, 1) if found is not None else None
    return command[0] if command is not None else None


def language_plan(read: Reader, port: int) -> Plan | None:
    """How a project of such a language is run where the image has its program."""
    found = language_of(read)
    if found is None or (command := _command(found[0].name, read, port)) is None:
        return None
    program = program_of(Command(words(list(command)), ""), read, None)
    return Plan(command, variables(port), program.loads_once, program.reloads, found[0].name, " ".join(command))


def _command(language: str, read: Reader, port: int) -> tuple[str, ...] | None:  # noqa: PLR0912 - one branch a language
    at = f"0.0.0.0:{port}"
    there = read.names("")
    if language == "go":
        mains = [name for name in there if name.endswith(".go") and b"func main(" in (read(name) or b"")]
        commands = [name.rstrip("/") for name in read.names("cmd") if name.endswith("/")]
        served = [name for name in ("server", "web", "api", "app", "http", "serve") if name in commands] or commands[:1]
        if mains and read("go.mod") is None and read("go.work") is None:
            return ("go", "run", *(name for name in there if name.endswith(".go") and not name.endswith("_test.go")))
        return ("go", "run", ".") if mains else ("go", "run", f"./cmd/{served[0]}") if served else None
    if language == "rust":
        return ("cargo", "run")
    if language == "ruby":
        if read("bin/rails") is not None or read("config/application.rb") is not None:
            return ("bundle", "exec", "rails", "server", "-b", "0.0.0.0", "-p", str(port))  # noqa: S104
        if read("config.ru") is not None:
            return ("bundle", "exec", "rackup", "-o", "0.0.0.0", "-p", str(port))  # noqa: S104
        return next(
            (("bundle", "exec", "ruby", name) for name in ("app.rb", "main.rb", "server.rb") if read(name) is not None), None
        )
    if language == "php":
        if read("artisan") is not None:
            return ("php", "artisan", "serve", "--host=0.0.0.0", f"--port={port}")
        root = "public" if read("public/index.php") is not None else "."
        return ("php", "-S", at, "-t", root)
    if language == "java":
        maven = read("pom.xml")
        if maven is not None:
            goal = "spring-boot:run" if b"spring-boot" in maven else "quarkus:dev" if b"quarkus" in maven else None
            return ("./mvnw" if read("mvnw") is not None else "mvn", "-q", goal) if goal else None
        build = text(read, "build.gradle") + text(read, "build.gradle.kts")
        task = "bootRun" if "spring" in build else "run"
        return ("./gradlew" if read("gradlew") is not None else "gradle", task)
    if language == "deno":
        return _deno(read)
    if language == "bun":
        return next(
            (
                ("bun", name)
                for name in ("index.ts", "server.ts", "src/index.ts", "index.js", "server.js")
                if read(name) is not None
            ),
            None,
        )
    if language == "dotnet":
        return ("dotnet", "run", "--no-launch-profile")
    if language == "elixir":
        return ("mix", "phx.server") if b":phoenix" in (read("mix.exs") or b"") else ("mix", "run", "--no-halt")
    return None


def _deno(read: Reader) -> tuple[str, ...] | None:
    content = text(read, "deno.json") or text(read, "deno.jsonc")
    tasks = re.findall(r'"(dev|start|serve)"\s*:', content)
    if tasks:
        return ("deno", "task", next(name for name in ("dev", "start", "serve") if name in tasks))
    return next(
        (
            ("deno", "run", "-A", name)
            for name in ("main.ts", "server.ts", "mod.ts", "index.ts", "main.tsx")
            if read(name) is not None
        ),
        None,
    )
