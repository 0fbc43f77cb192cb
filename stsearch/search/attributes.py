"""Names under which a study and its trials remember things in their storage.

User attributes are for people: tables and dashboards show them. What only programs read (the
full record, the worker) is kept as system attributes.
"""

FORMAT = 1
"""Version of what is stored; a study of a newer one is not read."""

SPEC = "spec"
"""Study: ``identity``, ``resolved`` and ``space`` of its specification, and its ``format``."""
REFERENCE_POINT = "reference_point"
"""Study: the worst corner for the hypervolume."""
REFERENCE = "reference:"
"""Study, before a network's name: a trained network outside the space."""

ARCHITECTURE = "architecture"
"""The architecture's id."""
NETWORK = "network"
"""The network's name."""
REASON = "reason"
"""Why a trial failed or was pruned, in one line."""
INTERRUPTED = "interrupted"
"""Of a trial whose worker was stopped; its architecture is tried again."""
WORKER = "worker"
"""Who trains it."""
RUNGS = "rungs"
"""Of a trial under successive halving: epoch to accuracy, per cent, also of rungs reached before it was taken up."""
STOPPED = "stopped_at"
"""The epoch of the rung at which a network was stopped; its trial is PRUNED."""
EXPECTED_FROM = "expected_from"
"""Of a stopped trial as samplers see it, never stored: the epoch of the rung from which its accuracy is expected."""
CONTINUES = "continues"
"""Number of the trial whose training this one takes up."""
PASSED = "passed"
"""The epoch of the rung that it need not pass again: it was promoted from there."""
CLIPS_TRAINED = "clips_trained"
"""Training clips that this trial has seen; not those of the trial that it continues."""
EPOCHS_TRAINED = "epochs_trained"
"""The same in epochs, over all repeats."""
SCREEN = "screen"
"""Of a network that a screen scored: ``score`` and ``clips``, its ``value``, and whether it was screened ``out``: it is
not trained then."""
TRACE = "trace"
"""File of a trial's trace for the TensorBoard profiler."""

REPEATS = ":repeats"
"""After a study's name: Optuna's study of the further trainings of its networks. No user can give such a name."""
REPEAT_OF = "repeat_of"
"""Of a further training: number of the trial of its network."""
REPEAT = "repeat"
"""Of a further training: which one of its network, counted from 0 over all of them."""

RECORD = "stsearch:record"
"""System attribute: everything that training found."""
CONSTRAINT = "constraints:"
"""System attribute, before a name: Optuna's own, feasible where the value is at most 0."""
METRIC_NAMES = "study:metric_names"
"""System attribute of a study: Optuna's own."""
