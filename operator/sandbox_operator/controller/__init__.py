"""Watches SandboxRunners and makes their runtimes so. ``reconcile`` reads: observe, plan, apply, report."""
