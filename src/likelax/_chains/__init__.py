"""Chains of states on log potentials: the engine under `likelax.hmm`.

It knows arrays only, no model and no data. `chain` is what every form takes, `recursion` what a form
answers, and `dispatch` chooses one. docs/engine.md says which and why.
"""

__all__: list[str] = []
