"""Package mirrors for sandboxes: `npm install` and `pip install` really run, and reach nothing else.

Verdaccio and proxpi listen in the pretend internet at 203.0.113.20 but run in the machine's own namespace, with its route, its
certificate bundle and its registry settings. A socket keeps the network namespace it was made in, so it is made there and handed
over; pods can reach the mirror, and through it packages, but not this machine.
"""

from devcluster.mirrors.installing import install
from devcluster.mirrors.serving import possible, start, status, stop

__all__ = ["install", "possible", "start", "status", "stop"]
