"""Ways to a cluster: `local` makes one, `kind` has kind make one, `existing` borrows one."""
