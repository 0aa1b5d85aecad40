"""Which versions of Node and Python a project asks for, by the first number that tells them apart.

The agent does not know the app image's versions, so an install's shell compares: it is given the numbers that are good.
"""

from __future__ import annotations

import re

NODES = range(8, 41)
PYTHONS = range(6, 31)
"""Minor versions of Python 3."""
_PART = re.compile(r"(>=|<=|>|<|=|\^|~>?|)\s*v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?[\w.+-]*")
_SPECIFIER = re.compile(r"(>=|<=|==|!=|~=|>|<|===)\s*(\d+)(?:\.(\d+|\*))?(?:\.(\d+|\*))?.*")


def good_nodes(wanted: str) -> list[int] | None:
    """Majors of Node that a range as in ``engines.node`` or .nvmrc allows; None when it is not understood, or asks for
    nothing."""
    wanted = wanted.strip()
    if not wanted or wanted.startswith(("lts", "node", "latest", "stable")):
        return None
    good: set[int] = set()
    for part in wanted.split("||"):
        numbers = _majors(part.strip())
        if numbers is None:
            return None
        good |= numbers
    return sorted(good)


def _majors(part: str) -> set[int] | None:
    if match := re.fullmatch(r"v?(\d+)\S*\s+-\s+v?(\d+)\S*", part):
        return set(range(int(match[1]), int(match[2]) + 1))
    good = set(NODES)
    text = re.sub(r"(>=|<=|>|<|=|\^|~)\s+", r"\1", part)
    for word in text.split():
        match = _PART.fullmatch(word)
        if match is None:
            return None
        operator, major = match[1], match[2]
        if not major.isdigit():
            continue
        number, smaller = int(major), any(each and each.isdigit() and int(each) for each in match.groups()[2:])
        if operator == ">=":
            good &= {n for n in NODES if n >= number}
        elif operator == ">":
            good &= {n for n in NODES if n > number or (n == number and match[3] is not None)}
        elif operator == "<=":
            good &= {n for n in NODES if n <= number}
        elif operator == "<":
            good &= {n for n in NODES if n < number or (n == number and smaller)}
        else:
            good &= {number}
    return good


def good_pythons(wanted: str) -> list[int] | None:
    """Minor versions of Python 3 that ``requires-python`` (or Poetry's ``^3.11``) allows; None when it is not understood."""
    good = set(PYTHONS)
    for word in wanted.replace(" ", "").split(","):
        poetry = re.fullmatch(r"(\^|~)3\.(\d+).*", word)
        if poetry:
            good &= {n for n in PYTHONS if n == int(poetry[2]) or (poetry[1] == "^" and n > int(poetry[2]))}
            continue
        match = _SPECIFIER.fullmatch(word)
        if match is None or (match[3] is not None and not (match[3].isdigit() or match[3] == "*")):
            return None
        operator, major, minor = match[1], int(match[2]), int(match[3]) if (match[3] or "").isdigit() else None
        patch = match[4] is not None and match[4].isdigit() and int(match[4]) > 0
        good &= {n for n in PYTHONS if _allows(operator, (major, minor), patch, n)}
    return sorted(good)


def _allows(operator: str, version: tuple[int, int | None], patch: bool, n: int) -> bool:
    major, minor = version
    if major != 3:
        return operator in ("<", "<=", "!=") if major > 3 else operator in (">", ">=", "!=")
    if minor is None:
        return operator not in ("<", ">")
    return {
        ">=": n >= minor,
        ">": n > minor or (n == minor and patch),
        "<=": n <= minor,
        "<": n < minor or (n == minor and patch),
        "==": n == minor,
        "===": n == minor,
        "~=": n == minor if patch else n >= minor,
        "!=": n != minor or patch,
    }[operator]


def node_note(wanted: str, where: str) -> str:
    """A line of shell that says when the image's Node is another than ``where`` asks for; "" when nothing is asked."""
    good = good_nodes(wanted)
    if good is None:
        return ""
    numbers = "|".join(map(str, good)) or "none"
    said = re.sub(r"[^\w.<>=^~|* -]", "", wanted)[:60]
    return (
        f"case $(node -p 'process.versions.node.split(`.`)[0]' 2>/dev/null) in {numbers}) ;; *) "
        f'echo "warning: {where} asks for Node {said}, this image has $(node --version)" ;; esac; '
    )


def python_note(wanted: str, where: str) -> str:
    good = good_pythons(wanted)
    if good is None:
        return ""
    numbers = "|".join(map(str, good)) or "none"
    said = re.sub(r"[^\w.<>=^~,* -]", "", wanted)[:60]
    return (
        f"case $(python3 -c 'import sys; print(sys.version_info[1])') in {numbers}) ;; *) "
        f'echo "warning: {where} asks for Python {said}, this image has $(python3 --version)" ;; esac; '
    )
