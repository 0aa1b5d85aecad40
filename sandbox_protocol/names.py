"""Every name that crosses a border between our programs, or is a contract with the outside."""

GROUP = "infrastructure.appstudio.dev"
VERSION = "v1alpha1"
SUBRESOURCE_GROUP = "subresources.infrastructure.appstudio.dev"
PLURAL = "sandboxrunners"
KIND = "SandboxRunner"
TEMPLATE_PLURAL = "sandboxtemplates"
TEMPLATE_KIND = "SandboxTemplate"
DEFAULT_TEMPLATE = "sandbox-runner"
FINALIZER = f"{GROUP}/runtime"
FIELD_MANAGER = "appstudio-sandbox-operator"

SYSTEM_NAMESPACE = "sandbox-system"

LABEL_RUNNER_UID = f"{GROUP}/runner-uid"
"""On the runtime namespace and on every object and pod in it: the UID of the SandboxRunner it belongs to."""
ANNOTATION_RUNNER = f"{GROUP}/runner"
"""On the runtime namespace: ``<namespace>/<name>`` of the SandboxRunner, for people; nothing decides by it."""
ANNOTATION_CREATOR = f"{GROUP}/created-by"
"""On a SandboxRunner: the user who made it, by the admission policy of deploy/creators."""
ANNOTATION_IMAGES = f"{GROUP}/images"
"""On the runtime namespace: the images that may run there, by space. The policy sandbox-images admits pods by it."""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"

# Inside a runtime namespace names are fixed (design: deterministic refs).
PVC = "workspace"
DEPLOYMENT = "runner"
CONTROL_SERVICE = "control"
PREVIEW_SERVICE = "preview"
CONTROL_SECRET = "control"  # noqa: S105 - the name of the Secret, not a secret
ENV_SECRET = "env"  # noqa: S105
PULL_SECRET = "image-pull"  # noqa: S105
"""In a runtime namespace what the kubelet pulls with; in the operator's, the one name that the controller may read unasked."""
NETWORK_POLICY = "isolation"
SERVICE_ACCOUNT = "runner"
LIMITS = "limits"
REFERENCE_GRANT = "preview"
DATA_PLANE_BINDING = "data-plane"

# Ports inside the pod.
CONTROL_PORT = 7070
"""TLS with the key of the control Secret, bearer token on everything but /healthz and /readyz."""
PREVIEW_PORT = 7080
"""Plain HTTP: proxies to the app on loopback; a waiting page while it does not answer."""
LAUNCHER_PORT = 7071
"""Loopback only: the launcher in the app container connects here."""

GATE_NOT_FENCED = 3
"""Exit code of the gate when an address that the network policy forbids still answers."""

# Keys of the control Secret.
SECRET_TOKEN = "token"  # noqa: S105
SECRET_TLS_CERT = "tls.crt"  # noqa: S105
SECRET_TLS_KEY = "tls.key"  # noqa: S105
SECRET_PREVIOUS_TOKEN = "previous-token"  # noqa: S105
SECRET_PREVIOUS_CERT = "previous-tls.crt"  # noqa: S105
"""For some minutes after a rotation: what the agent knows until the kubelet has brought the new ones into its pod."""
