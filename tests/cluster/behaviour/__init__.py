"""What each verb answers in each state of a runner, as one table: asked of the real cluster by test_behaviour.py, and printed as
docs/behaviour.md by ``python -m tests.cluster.behaviour --write``.

``table`` says what must be answered, ``calls`` how it is asked, ``states`` how a runner comes into a state, ``page`` prints.
"""
