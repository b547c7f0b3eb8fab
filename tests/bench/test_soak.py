"""How the two runs of a soak are compared."""

from unialign_jax.bench import soak_report


def test_each_step_and_value_is_compared():
  alone = [{"step": 1, "loss/a": 2.0}, {"step": 2, "loss/a": 3.0}]
  killed = [
    {"step": 1, "loss/a": 2.0, "seconds/step": 5.0},
    {"step": 1, "loss/a": 2.5, "grad_norm": 1.0},
  ]
  assert soak_report._differing(killed, alone, 2) == [
    "step 2: missing",
    "step 1: loss/a",
    "step 1: grad_norm",
  ]
