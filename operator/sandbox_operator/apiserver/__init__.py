"""The aggregated API server: serves the verbs of a SandboxRunner as subresources of the Kubernetes API.

A request comes from the API server's aggregator with the user in headers (authn), is allowed a second time by our own access
review (authz), finds its runner in a local copy (runners), and is passed to the runner's agent (dial) by the file of its verb.
"""
