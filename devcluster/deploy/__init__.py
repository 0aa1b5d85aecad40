"""Installs the operator into the development cluster and removes it without a trace: `python -m devcluster.deploy up|down`.

`overlay` says, purely, how the shipped manifests differ here; `readiness` says in words why something is not ready; `install` and
`remove` act. Other clusters use deploy/base with an overlay of their own.
"""
