"""`python -m tests.apps [NAME | PREFIX* …]`: brings projects of the corpus up, prints a line for each, and writes docs/apps.md.

Needs a cluster with the operator in it (`make up`). Exit code 1 when a project did not do what it should."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from dataclasses import replace

from devcluster.settings import State, state_from_environment
from tests.apps import page, projects, results
from tests.apps.expectation import Expectation, ExpectationError
from tests.apps.play import play
from tests.apps.results import Record
from tests.apps.stage import Stage, open_stage

JOBS = 2
"""Projects at a time: installs and compilers keep a core busy each, and times are those of such a machine."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.apps", description=__doc__)
    parser.add_argument("names", nargs="*", help="projects, or the beginning of names with a * at its end; default: all")
    parser.add_argument("--jobs", type=int, default=JOBS, help="projects at a time")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="times the seconds that a project has, on a machine with other work"
    )
    parser.add_argument("--template", default="", help="another SandboxTemplate than the default, such as one with another image")
    parser.add_argument("--missing", action="store_true", help="only those without a good result of this revision")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
    parser.add_argument("--no-page", action="store_true", help="leave docs/apps.md as it is")
    arguments = parser.parse_args()
    state = state_from_environment()
    try:
        every = projects.every()
        chosen = projects.chosen(every, arguments.names)
    except (ExpectationError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    chosen = [replace(item, ready=item.ready * arguments.patience, edit=item.edit * arguments.patience) for item in chosen]
    revision = results.product_revision()
    if arguments.missing:
        good = {record.project for record in _kept(state) if record.passed and record.revision == revision}
        chosen = [project for project in chosen if project.name not in good]
    if not chosen:
        print("nothing is missing")
        return 0
    if arguments.list:
        print("\n".join(f"{project.name:<24}{project.kind:<8}{project.framework}" for project in chosen))
        return 0
    if not state.kubeconfig.exists():
        print(f"no cluster: {state.kubeconfig} does not exist. Run `make up` first.", file=sys.stderr)
        return 1
    try:
        records = asyncio.run(run(state, chosen, revision, arguments.jobs, arguments.template))
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("ended early; --missing goes on from here", file=sys.stderr)
        records = []
    kept = results.newest(_kept(state), [project.name for project in every])
    if not arguments.no_page:
        page.PAGE.write_text(page.render(kept, revision))
    print(page.summary(records))
    return 0 if records and all(record.passed for record in records) else 1


async def run(state: State, chosen: list[Expectation], revision: str, jobs: int = JOBS, template: str = "") -> list[Record]:
    """Saves and prints each record as its project ends."""
    turns = asyncio.Semaphore(jobs)
    task = asyncio.current_task()
    assert task is not None
    # as an interrupt does, so that no sandbox outlives a run that was ended
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)

    async def one(stage: Stage, project: Expectation) -> Record:
        async with turns:
            try:
                record = await play(stage, project, revision)
            except Exception as error:  # whatever one project meets, the others are played
                failure = f"harness: {type(error).__name__}: {error}"
                record = Record(project.name, project.framework, project.kind, revision, failure=failure)
        results.save(record, stage.results)
        print(page.line(record), flush=True)
        return record

    async with open_stage(state, template) as stage:
        return list(await asyncio.gather(*(one(stage, project) for project in chosen)))


def _kept(state: State) -> list[Record]:
    return results.load(state.root / "apps")


if __name__ == "__main__":
    sys.exit(main())
