"""Whether the images of a runner are signed by whom its template trusts; asked once an image, remembered by its digest."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from sandbox_operator.controller.registry import Registry, RegistryUnavailable
from sandbox_operator.controller.templates import Template
from sandbox_operator.errors import NotSigned, RetryLater
from sandbox_operator.kube import errors, resources
from sandbox_operator.kube.client import Kube
from sandbox_operator.model.images import ImageRef, parse
from sandbox_operator.model.signatures import SignatureError, Trust, downloaded, tag, verify
from sandbox_operator.model.template import SignatureBounds

CONFIG_MAP = "image-signatures"
"""In the operator's own namespace: signatures that are given rather than fetched, by the tag that cosign would use."""

# Verdicts kept, some 300 bytes each. A good one holds as long as digest and keys are the same, which is for ever.
_KEPT = 4096
# A reconcile waits this long for an answer and then gives its worker to another runner.
_PATIENCE_SECONDS = 0.5
_ASK_AGAIN_SECONDS, _UNAVAILABLE_SECONDS = 1.0, 15.0
# Where images that were loaded, not pulled, say they come from: there is nobody to ask.
_NO_REGISTRY = "localhost"


@dataclass(frozen=True, slots=True)
class _Question:
    image: ImageRef
    bounds: SignatureBounds
    trusted: Trust = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """``until`` is the loop's time."""

    problem: NotSigned | RetryLater | None
    until: float


class Provenance:
    def __init__(self, kube: Kube, namespace: str, registry: Registry) -> None:
        self._kube = kube
        self._namespace = namespace
        self._registry = registry
        self._verdicts: OrderedDict[_Question, _Verdict] = OrderedDict()
        self._asking: dict[_Question, asyncio.Task[_Verdict]] = {}

    async def check(self, images: Iterable[str], template: Template) -> None:
        """Raises NotSigned, RetryLater while the answer is not known. Nothing is asked of a template without keys."""
        if not template.trusted.keys:
            return
        for image in sorted(images):
            question = _Question(parse(image), template.spec.bounds.signatures, template.trusted)
            problem = (await self._verdict(question)).problem
            if problem is not None:
                raise problem.with_traceback(None)

    async def _verdict(self, question: _Question) -> _Verdict:
        known = self._verdicts.get(question)
        if known is not None and asyncio.get_running_loop().time() < known.until:
            self._verdicts.move_to_end(question)
            return known
        task = self._asking.get(question)
        if task is None:
            task = self._asking[question] = asyncio.create_task(self._asked(question))
        done, _ = await asyncio.wait({task}, timeout=_PATIENCE_SECONDS)
        if not done:
            raise RetryLater(f"The signature of {question.image} is being looked up.", _ASK_AGAIN_SECONDS)
        return task.result()

    async def _asked(self, question: _Question) -> _Verdict:
        problem: NotSigned | RetryLater | None = None
        try:
            seconds = float("inf")
            if (why := await self._why_not(question)) is not None:
                problem, seconds = NotSigned(f"{question.image} has no valid signature. {why}"), NotSigned.again
        except (RegistryUnavailable, errors.ApiError, *errors.TRANSIENT) as error:
            seconds = _UNAVAILABLE_SECONDS
            why = f"The signature of {question.image} cannot be looked up: {str(error) or type(error).__name__}"
            problem = RetryLater(why, seconds)
        finally:
            del self._asking[question]
        verdict = self._verdicts[question] = _Verdict(problem, asyncio.get_running_loop().time() + seconds)
        while len(self._verdicts) > _KEPT:
            self._verdicts.popitem(last=False)
        return verdict

    async def _why_not(self, question: _Question) -> str | None:
        """Given signatures come first: they cost nothing, and work where no registry does."""
        image = question.image
        try:
            verify(image, downloaded(await self._given(image)), question.trusted)
        except SignatureError as error:
            given = f"ConfigMap {self._namespace}/{CONFIG_MAP}, key {tag(image.digest)}: {error}"
        else:
            return None
        if question.bounds.offline or image.registry == _NO_REGISTRY:
            return given
        try:
            verify(image, await self._registry.signatures(image), question.trusted)
        except SignatureError as error:
            return f"{image.name}:{tag(image.digest)}: {error}; {given}"
        return None

    async def _given(self, image: ImageRef) -> str:
        try:
            found = await self._kube.get(resources.CONFIG_MAPS, CONFIG_MAP, self._namespace)
        except errors.NotFound:
            return ""
        return str((found.get("data") or {}).get(tag(image.digest), ""))
