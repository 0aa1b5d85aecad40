"""The preview gateway: browsers on one side, the agents' preview ports on the other. Holds no credential of any runtime.

``session`` knows cookies and tokens as they travel, ``access`` decides, ``rewrite`` changes heads, ``pages`` answers in words,
``gateway`` puts them in order for each request, ``main`` runs it. The connections are :mod:`sandbox_protocol.http1_proxy`'s.
"""
