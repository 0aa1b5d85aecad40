"""A template, compiled: checked once, in the order of its references, then evaluated for any number of runners.

As in kro, expressions may name ``schema`` (the runner) and other resources by id. They see what the template itself says
of those, not what the cluster adds: so one pass renders everything, and there is no half of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sandbox_operator.errors import TemplateInvalid
from sandbox_operator.model.template import TemplateResource
from sandbox_operator.render.cel import CelError, Environment, Program
from sandbox_operator.render.expressions import Text, UnterminatedError, names_in, parse

Object = dict[str, Any]
SCHEMA = "schema"
# Names of kro's own, and the words that CEL keeps for itself.
_RESERVED = frozenset({SCHEMA, "self", "each", "instance"}) | frozenset(
    {
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    }
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """``resource`` is the id in the template."""

    resource: str
    object: Object


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    template: Any
    include_when: tuple[Program, ...]
    ready_when: tuple[tuple[str, Program], ...]


class Graph:
    """Immutable. Use :func:`compile_template`."""

    def __init__(self, nodes: tuple[_Node, ...]) -> None:
        self._nodes = nodes

    def render(self, schema: Mapping[str, Any]) -> list[Rendered]:
        """All included objects, referenced ones before those that refer to them. TemplateInvalid names resource and field."""
        variables: dict[str, Any] = {SCHEMA: schema}
        rendered: list[Rendered] = []
        for node in self._nodes:
            if not all(_flag(node, f"includeWhen[{i}]", program, variables) for i, program in enumerate(node.include_when)):
                continue
            body = _evaluate(node.template, node.id, "", variables)
            variables[node.id] = body
            rendered.append(Rendered(node.id, body))
        return rendered

    @property
    def awaited(self) -> tuple[str, ...]:
        """The resources that have a ``readyWhen``."""
        return tuple(node.id for node in self._nodes if node.ready_when)

    def unready(self, live: Mapping[str, Object]) -> list[str]:
        """Those ``readyWhen`` expressions, as ``id: expression``, that do not hold for the ``live`` objects, by id."""
        return [
            f"{node.id}: {text}"
            for node in self._nodes
            if node.id in live
            for text, program in node.ready_when
            if not _holds(program, live)
        ]


def compile_template(resources: tuple[TemplateResource, ...]) -> Graph:
    """Raises TemplateInvalid with resource, field and CEL position of the first fault."""
    ids = [resource.id for resource in resources]
    for index, name in enumerate(ids):
        if name in _RESERVED or name in ids[:index] or not name.isidentifier():
            raise TemplateInvalid(f"resources[{index}].id: {name!r} is reserved, used twice or no identifier")
    environment = Environment([SCHEMA, *ids])
    nodes: dict[str, _Node] = {}
    needs: dict[str, set[str]] = {}
    for resource in resources:
        used: set[str] = set()
        nodes[resource.id] = _Node(
            resource.id,
            _compile(resource.template, resource.id, "", environment, used),
            tuple(
                _condition(text, resource.id, f"includeWhen[{i}]", environment, used)
                for i, text in enumerate(resource.include_when)
            ),
            tuple(
                (text, _condition(text, resource.id, f"readyWhen[{i}]", environment, set()))
                for i, text in enumerate(resource.ready_when)
            ),
        )
        needs[resource.id] = used & set(ids)
    try:
        order = tuple(TopologicalSorter({name: sorted(needs[name]) for name in ids}).static_order())
    except CycleError as error:
        raise TemplateInvalid(f"resources refer to each other in a circle: {' → '.join(error.args[1])}") from error
    return Graph(tuple(nodes[name] for name in order))


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A string with expressions: ``programs`` in the order of ``text.expressions``."""

    text: Text
    programs: tuple[Program, ...]


def _compile(value: Any, resource: str, path: str, environment: Environment, used: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _compile(item, resource, f"{path}.{key}", environment, used) for key, item in value.items()}
    if isinstance(value, list):
        return [_compile(item, resource, f"{path}[{index}]", environment, used) for index, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    try:
        text = parse(value)
    except UnterminatedError as error:
        raise TemplateInvalid(f"{_at(resource, path)}: {error}") from error
    return _Compiled(text, tuple(_program(part.text, resource, path, environment, used) for part in text.expressions))


def _condition(value: str, resource: str, field: str, environment: Environment, used: set[str]) -> Program:
    try:
        whole = parse(value).whole
    except UnterminatedError as error:
        raise TemplateInvalid(f"{_at(resource, field)}: {error}") from error
    if whole is None:
        raise TemplateInvalid(f"{_at(resource, field)}: must be one ${{expression}} and nothing else")
    return _program(whole.text, resource, field, environment, used)


def _program(text: str, resource: str, path: str, environment: Environment, used: set[str]) -> Program:
    used |= names_in(text)
    try:
        return environment.compile(text)
    except CelError as error:
        raise TemplateInvalid(f"{_at(resource, path)}: ${{{text}}}: {error}") from error


def _evaluate(value: Any, resource: str, path: str, variables: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _evaluate(item, resource, f"{path}.{key}", variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_evaluate(item, resource, f"{path}[{index}]", variables) for index, item in enumerate(value)]
    if not isinstance(value, _Compiled):
        return value
    results = [
        _result(program, part.text, resource, path, variables)
        for program, part in zip(value.programs, value.text.expressions, strict=True)
    ]
    if value.text.whole is not None:
        return results[0]
    return "".join(_joined(value.text, iter(results), resource, path))


def _joined(text: Text, results: Iterator[Any], resource: str, path: str) -> Iterator[str]:
    for part in text.parts:
        if isinstance(part, str):
            yield part
            continue
        result = next(results)
        if not isinstance(result, str):
            raise TemplateInvalid(f"{_at(resource, path)}: ${{{part.text}}} inside text must give a string: use string(…)")
        yield result


def _result(program: Program, text: str, resource: str, path: str, variables: Mapping[str, Any]) -> Any:
    try:
        return program(variables)
    except CelError as error:
        raise TemplateInvalid(f"{_at(resource, path)}: ${{{text}}}: {error}") from error


def _flag(node: _Node, field: str, program: Program, variables: Mapping[str, Any]) -> bool:
    result = _result(program, field, node.id, field, variables)
    if not isinstance(result, bool):
        raise TemplateInvalid(f"{_at(node.id, field)}: must give true or false")
    return result


def _holds(program: Program, live: Mapping[str, Object]) -> bool:
    """Live objects fill up over time: what cannot be evaluated yet does not hold yet."""
    try:
        return program(live) is True
    except CelError:
        return False


def _at(resource: str, path: str) -> str:
    return f"resource {resource}, {path.removeprefix('.') or 'template'}"
