"""A real Kubernetes for development and tests, on a bare machine: `python -m devcluster up | down | status | build`.

What other parts of this repository use (all paths and addresses hold for the one cluster of this machine):

- `settings.state_from_environment()` → `State` with `.root`, `.kubeconfig`, `.bin`, `.logs`; every address as a constant there
- `namespaces.in_node_argv(argv)`, `namespaces.in_internet_argv(argv)`: command lines that run in there
- `containerd.import_image(state, archive, name)` → digest reference; `containerd.ctr_argv(state, ...)`
- `packages.ensure(["buildah", ...])`: distribution packages, only when missing
- `progress.say(text)`, `with progress.step("what"):` lines with times
- `daemons.ensure(state, Daemon(name, argv))`: a process that outlives its caller; `up`, `down` and `status` know it from then on
- `python -m devcluster build [NAME...]`: programs by content into the cache, any number of callers at once
"""
