"""The only code that talks to a Kubernetes API server. Objects stay plain dicts; what they mean is decided elsewhere."""
