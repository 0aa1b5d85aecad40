"""The route table: every verb there is. What is not here is neither served, nor discovered, nor allowed."""

from __future__ import annotations

from sandbox_operator.apiserver import exec as exec_
from sandbox_operator.apiserver import log, preview, proxy, restart, status, sync
from sandbox_operator.apiserver.verb import Verb

VERBS: dict[str, Verb] = {
    verb.name: verb for verb in (sync.VERB, restart.VERB, log.VERB, status.VERB, exec_.VERB, preview.VERB, proxy.VERB)
}
